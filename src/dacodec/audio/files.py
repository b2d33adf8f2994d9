"""Audio files in and out. The only module that reads or writes them."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from dacodec.audio.arrays import MAX_CHANNELS, Samples, as_float, check_sampling_rate
from dacodec.errors import AudioError

File = str | os.PathLike[str] | BinaryIO


class Audio(NamedTuple):
    samples: Samples  # [C, T]
    sampling_rate: int  # Hz


_BLOCK = 1 << 16  # samples per channel that are read or written at once
# Beyond these, a length in a header is no claim: programs that write to a pipe cannot know better.
_UNKNOWN_FRAMES = 1 << 62
_UNKNOWN_BYTES = (1 << 31) - (1 << 16)
_UNRECOGNISED = 1  # libsndfile's code for a format it does not know
# What FFmpeg may open for us. Left to itself it also follows playlists, which name other files and hosts; and
# it would quietly read what libsndfile rightly calls damaged.
_FFMPEG_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,aac,mp3,asf,flv,mpegts,wv,ape,ac3,eac3,amr"
_PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_BY_SUFFIX = {"OPUS": ("OGG", "OPUS"), "OGA": ("OGG", "VORBIS"), "AIF": ("AIFF", "PCM_16")}


def read(file: File) -> Audio:
    """Read a whole audio file.

    Args:
        file: path, or a binary file object, which is read from where it stands.

    Returns:
        The file's samples [C, T] and sampling rate, unchanged. Formats are libsndfile's (WAV, FLAC, Ogg
        Vorbis and Opus, MP3, AIFF and more). With the optional PyAV, ``pip install dacodec[av]``, also m4a,
        webm and others, and the valid Opus files that libsndfile 1.2.2 calls malformed.

    Raises:
        AudioError: if there is no such file, or it cannot be read, is not audio, is empty, holds less than
            its header claims, has more than 255 channels, an impossible rate, NaN or infinity.
    """
    try:
        source, head = _open_source(file)
        try:
            samples, sampling_rate = _read_soundfile(source)
        except soundfile.LibsndfileError as error:
            if error.code != _UNRECOGNISED and head != b"OggS":
                raise
            samples, sampling_rate = _read_av(source, _reason(error))
        if not samples.size:
            raise AudioError("it holds no samples")
        return Audio(as_float(samples), check_sampling_rate(sampling_rate))
    except (OSError, ValueError, TypeError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot read {_shown(file)}: {_reason(error)}") from None


def _open_source(file: File) -> tuple[bytes | str | BinaryIO, bytes]:
    """A path for soundfile, or a file object that can seek and stands at 0; and the first bytes."""
    if isinstance(file, (str, os.PathLike)):
        path = Path(file)
        if path.is_file():
            with path.open("rb") as opened:
                head = opened.read(4)
            # As bytes where it can be, because soundfile cannot encode a name that is not UTF-8.
            return os.fsencode(path) if os.name == "posix" else str(path), _not_empty(head)
        file = io.BytesIO(path.read_bytes())  # a pipe, as a shell makes of <(command)
    elif not file.seekable() or file.tell():
        file = io.BytesIO(file.read())
    head = file.read(4)
    file.seek(0)
    return file, _not_empty(head)


def _not_empty(head: bytes) -> bytes:
    if not head:
        raise AudioError("it is empty")
    return head


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Read from front to back only.

    After each read soundfile seeks to where it should be anyway, and that fails at the end of a FLAC file
    whose header does not know its length.
    """

    def seekable(self) -> bool:
        return False


def _read_soundfile(source: bytes | str | BinaryIO) -> tuple[Samples, int]:
    with _ForwardFile(source) as sound:
        if sound.channels > MAX_CHANNELS:
            raise AudioError(f"it has {sound.channels} channels, more than {MAX_CHANNELS}")
        try:
            # In blocks: nothing is allocated by what the header claims.
            samples = _joined([block.T for block in _blocks(sound)])
        except soundfile.SoundFileError as error:
            if sound.format == "OGG":
                raise  # another chance for the Opus files that libsndfile misjudges
            raise AudioError(f"it is damaged or cut off ({_reason(error)}); get a complete copy") from None
        claim = _broken_claim(sound, samples.shape[1])
        if claim:
            raise AudioError(f"its header claims {claim}; it was cut off, get a complete copy")
        return samples, sound.samplerate


def _blocks(sound: soundfile.SoundFile) -> Iterator[Samples]:
    """The file in blocks [n, C]."""
    while True:
        block: Samples = sound.read(_BLOCK, dtype="float32", always_2d=True)
        if len(block):
            yield block
        if len(block) < _BLOCK:
            return


def _joined(blocks: list[Samples]) -> Samples:
    """Blocks [C, n] as one array [C, T]."""
    return np.concatenate(blocks, axis=1) if blocks else np.empty((1, 0), np.float32)


def _broken_claim(sound: soundfile.SoundFile, length: int) -> str | None:
    """What the header claims beyond the ``length`` samples that were there."""
    if sound.format in ("MP3", "OGG"):
        return None  # no such claim: an MP3's length is an estimate, an Ogg file's is found at its end
    if length < sound.frames < _UNKNOWN_FRAMES:
        return f"{sound.frames} samples, the file holds {length}"
    # For WAV and AIFF libsndfile corrects the claim silently, and tells only its log.
    for claimed, held in re.findall(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", sound.extra_info, re.M):
        if int(held) + 1 < int(claimed) < _UNKNOWN_BYTES:
            return f"{claimed} bytes of audio, the file holds {held}"
    return None


def _read_av(source: bytes | str | BinaryIO, reason: str) -> tuple[Samples, int]:
    """Read by PyAV (FFmpeg) what libsndfile would not for ``reason``."""
    try:
        import av
    except ImportError:
        raise AudioError(
            f"{reason}; if it is m4a, webm, Opus or another format that FFmpeg knows: pip install dacodec[av]"
        ) from None
    # Always by file object: FFmpeg takes some paths for protocols.
    if isinstance(source, (bytes, str)):
        with Path(os.fsdecode(source)).open("rb") as opened:
            return _read_av(opened, reason)
    source.seek(0)
    try:
        with av.open(source, options={"format_whitelist": _FFMPEG_FORMATS}) as container:
            if not container.streams.audio:
                raise AudioError("it has no audio track")
            stream = container.streams.audio[0]
            if stream.channels > MAX_CHANNELS:
                raise AudioError(f"it has {stream.channels} channels, more than {MAX_CHANNELS}")
            planar = av.AudioResampler(format="fltp")  # of the sample format only
            rates, blocks = set(), []
            for frame in container.decode(stream):
                rates.add(frame.sample_rate)
                blocks += [np.asarray(part.to_ndarray(), np.float32) for part in planar.resample(frame)]
            if len(rates) > 1:
                raise AudioError(f"its sampling rate changes on the way: {sorted(rates)} Hz")
            rate = rates.pop() if rates else stream.rate
            samples = _joined(blocks)
            if "mp4" in container.format.name and stream.duration:
                # The track's length without what fills its last packet. In other formats it may be a guess.
                samples = samples[:, : round(stream.duration * stream.time_base * rate)]
            return samples, rate
    except AudioError:
        raise
    except (av.FFmpegError, ValueError):
        raise AudioError(f"{reason}; FFmpeg cannot read it either; is it audio?") from None


def write(
    file: File, samples: Any, sampling_rate: int, subtype: str | None = None, format: str | None = None
) -> None:
    """Write an audio file.

    Args:
        file: path, or a binary file object.
        samples: what :func:`as_float` takes. Beyond -1 and 1 they are clipped, unless the file holds floats.
        sampling_rate: Hz.
        subtype: encoding of the samples in soundfile's terms, as ``"PCM_24"`` or ``"FLOAT"``. Left out, the
            usual one of the format: 16-bit PCM for WAV and FLAC.
        format: as ``"WAV"``; left out, it is taken from the file's suffix. A file object whose name has none
            is written as WAV.

    Raises:
        AudioError: if the audio is not valid, the format does not exist or cannot hold such audio, or the
            file cannot be written. What a file object raises is passed on.
    """
    samples, sampling_rate = as_float(samples), check_sampling_rate(sampling_rate)
    try:
        encoded = _encode(samples, sampling_rate, *_choose_format(file, format, subtype))
        if isinstance(file, (str, os.PathLike)):
            Path(file).write_bytes(encoded)
            return
    except FileNotFoundError:
        raise AudioError(f"cannot write {_shown(file)}: there is no such folder; make it first") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot write {_shown(file)}: {_reason(error)}") from None
    file.write(encoded)


def _encode(samples: Samples, sampling_rate: int, format: str, subtype: str) -> memoryview:
    """The file, in memory: left to write it itself, soundfile tells a full disk by a failed assertion."""
    buffer = io.BytesIO()
    channels, length = samples.shape
    try:
        with soundfile.SoundFile(buffer, "w", sampling_rate, channels, subtype, format=format) as sound:
            for start in range(0, length, _BLOCK):
                sound.write(_quantized(samples[:, start : start + _BLOCK], subtype).T)
    except soundfile.LibsndfileError as error:
        what = f"{format} {subtype} with {channels} channels at {sampling_rate} Hz"
        raise AudioError(f"{_reason(error)} (asked for {what}; try .wav)") from None
    return buffer.getbuffer()


def _quantized(samples: Samples, subtype: str) -> NDArray[Any]:
    """Clipped, and rounded where samples become integers, which libsndfile would only cut off for WAV."""
    if subtype in ("FLOAT", "DOUBLE"):
        return samples
    if subtype not in _PCM_BITS:
        return np.clip(samples, -1, 1)
    bits = _PCM_BITS[subtype]
    full_scale = 2.0 ** (bits - 1)
    integers = np.rint(samples * full_scale, dtype=np.float64).clip(-full_scale, full_scale - 1)
    return np.asarray(integers.astype(np.int32) << (32 - bits))  # libsndfile keeps the upper bits


def _choose_format(file: File, format: str | None, subtype: str | None) -> tuple[str, str]:
    if format is None:
        path = isinstance(file, (str, os.PathLike))
        name = file if path else getattr(file, "name", None)
        suffix = Path(name).suffix if isinstance(name, (str, os.PathLike)) else ""
        format = suffix[1:] if path or suffix else "WAV"
    format = format.upper()
    format, usual = _BY_SUFFIX.get(format, (format, None))
    if format not in soundfile.available_formats() or format == "RAW":
        raise AudioError(f"no audio format is called {format!r}; use .wav, .flac, .ogg, .opus or .mp3")
    subtype = (subtype or usual or soundfile.default_subtype(format)).upper()
    if not soundfile.check_format(format, subtype):
        fitting = ", ".join(soundfile.available_subtypes(format))
        raise AudioError(f"{format} has no subtype {subtype!r}; it has {fitting}")
    return format, subtype


def _shown(file: File) -> str:
    """A file's name, fit for a message of one line."""
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
    if not isinstance(name, str):
        return "the given audio file"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        reason = str(error.error_string).strip().removeprefix("Error : ").rstrip(".")
        if "SF_INFO" in reason:
            return "its header gives an impossible sampling rate, as 0 Hz"
        return f"libsndfile: {reason}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name a file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TypeError) and "samplerate" in str(error):  # soundfile, of a name that ends in .raw
        return "raw samples have no header that tells their rate; convert them to WAV"
    return str(error)
