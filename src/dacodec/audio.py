"""Audio in and out: files, arrays from elsewhere, sampling rates, loudness.

Samples are NumPy float32 [C, T] everywhere, full scale at -1 and 1. This is the only module that reads or
writes audio files.
"""

from __future__ import annotations

import io
import math
import operator
import os
import re
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from dacodec.config import MAX_SAMPLING_RATE
from dacodec.errors import AudioError

Samples = NDArray[np.float32]
File = str | os.PathLike[str] | BinaryIO

MAX_CHANNELS = 255  # what a .dacz file can hold


class Audio(NamedTuple):
    samples: Samples  # [C, T]
    sampling_rate: int  # Hz


# Arrays


def as_float(samples: Any) -> Samples:
    """Any array of audio as float32 [C, T], checked.

    Args:
        samples: [T] or [C, T]: a NumPy array, a torch tensor on any device, anything else that NumPy can
            convert, or lists of numbers. Integer arrays of up to 32 bits are PCM and scaled to [-1, 1)
            (the zero of unsigned ones is at half scale); floats and lists of numbers are taken as they are.

    Returns:
        A contiguous array; it may share its memory with ``samples``.

    Raises:
        AudioError: for other shapes or dtypes, no samples, more than 255 channels, NaN or infinity.
    """
    values = _to_numpy(samples)
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2:
        raise AudioError(f"audio must be [samples] or [channels, samples], got shape {values.shape}")
    channels, length = values.shape
    if not values.size:
        raise AudioError(f"the audio has no samples (shape {values.shape})")
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"{channels} channels of {length} samples are more than {MAX_CHANNELS}; "
            "if the array is [samples, channels], pass its transpose"
        )
    values = np.ascontiguousarray(_to_float32(values))
    finite = np.isfinite(values)
    if not finite.all():
        channel, sample = np.argwhere(~finite)[0]
        raise AudioError(
            f"the audio has {values[channel, sample]} at sample {sample} of channel {channel}; "
            "repair its source, or replace it with numpy.nan_to_num"
        )
    return values


def _to_numpy(samples: Any) -> NDArray[Any]:
    if hasattr(samples, "detach") and hasattr(samples, "cpu"):  # a torch tensor, without importing torch
        samples = samples.detach().cpu()
        return cast(NDArray[Any], (samples.float() if samples.is_floating_point() else samples).numpy())
    try:
        values = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise AudioError(f"this is not an array of audio: {error}") from None
    if isinstance(samples, (list, tuple)) and values.dtype == np.int64:
        return values.astype(np.float32)  # whole numbers in a list are still just numbers
    return values


def _to_float32(values: NDArray[Any]) -> Samples:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # becomes infinity, which is reported with its place
            return values.astype(np.float32, copy=False)
    if kind in "iu" and width <= 4:
        full_scale = 2.0 ** (8 * width - 1)
        zero = full_scale if kind == "u" else 0.0
        exact = np.float64 if width == 4 else np.float32
        return ((values.astype(exact) - zero) / full_scale).astype(np.float32, copy=False)
    raise AudioError(f"audio of dtype {values.dtype} has no agreed scale; convert it to float or int16")


def check_sampling_rate(sampling_rate: Any) -> int:
    """``sampling_rate`` as an int.

    Raises:
        AudioError: unless it is a whole number of Hz from 1 to 768000.
    """
    whole = isinstance(sampling_rate, (float, np.floating)) and float(sampling_rate).is_integer()
    try:
        rate = operator.index(int(sampling_rate) if whole else sampling_rate)
    except TypeError:
        rate = 0
    if not 1 <= rate <= MAX_SAMPLING_RATE:
        raise AudioError(
            f"a sampling rate is a whole number of Hz from 1 to {MAX_SAMPLING_RATE}, got {sampling_rate!r}"
        )
    return rate


# Files

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
    return integers.astype(np.int32) << (32 - bits)  # libsndfile keeps the upper bits


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


# Sampling rates


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples that ``n_samples`` at ``from_rate`` become at ``to_rate``: rounded up.

    So the last sample is always covered, and there and back again is never shorter than it was.
    """
    return -(-n_samples * to_rate // from_rate)


def resample(samples: Any, from_rate: int, to_rate: int) -> Samples:
    """Audio at another sampling rate.

    Args:
        samples: what :func:`as_float` takes.
        from_rate, to_rate: Hz.

    Returns:
        [C, resampled_length(T, from_rate, to_rate)], in time with the input: sample 0 of both is the same
        instant. The input is taken as 0 before its first and after its last sample.

    Raises:
        AudioError: as :func:`as_float` and :func:`check_sampling_rate`.

    Source: libsoxr, quality HQ (20 bits, passband to 0.91 of the lower Nyquist frequency).
    """
    samples = as_float(samples)
    from_rate, to_rate = check_sampling_rate(from_rate), check_sampling_rate(to_rate)
    if from_rate == to_rate:
        return samples
    # soxr rounds its length to the nearest; zeros for one sample more let us round up.
    padded = np.pad(samples, ((0, 0), (0, from_rate // to_rate + 1)))
    output: Samples = soxr.resample(padded.T, from_rate, to_rate, quality="HQ")  # [T', C]
    return np.ascontiguousarray(output[: resampled_length(samples.shape[1], from_rate, to_rate)].T)


# Loudness

_SEGMENTS_PER_SECOND = 10
_SEGMENTS_PER_BLOCK = 4  # gating blocks of 400 ms that overlap by 75 %
_OFFSET_LUFS = -0.691  # makes up for the weighting's gain at 997 Hz
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE = 0.1  # -10 LU
_MIN_LOUDNESS_RATE = 100  # Hz; below, nothing is left of what the weighting lets through
_SURROUND = 1.41
# Front channels count once, surround channels 1.41 times, the low-frequency channel not at all, in the usual
# order of 5.0 and 5.1 files. Other numbers of channels do not tell which is which.
_CHANNEL_WEIGHTS = {5: (1, 1, 1, _SURROUND, _SURROUND), 6: (1, 1, 1, 0, _SURROUND, _SURROUND)}


def loudness_lufs(samples: Any, sampling_rate: int) -> float:
    """Integrated loudness of all channels together, gated, in LUFS; -inf if all is below -70.

    Audio shorter than a gating block (400 ms) is taken as one block.

    Args:
        samples: what :func:`as_float` takes. Five and six channels are taken as 5.0 and 5.1.
        sampling_rate: Hz, at least 100.

    Raises:
        AudioError: as :func:`as_float`, and for a lower rate.

    Source: ITU-R BS.1770-4.
    """
    samples = as_float(samples)
    meter = LoudnessMeter(len(samples), sampling_rate)
    meter.push(samples)
    return meter.integrated_lufs()


def loudness_gain(samples: Any, sampling_rate: int, target_lufs: float) -> float:
    """What to multiply all channels by to bring them to ``target_lufs``; 1.0 for silence.

    Nothing is done about samples that the gain takes beyond full scale. Arguments and errors as
    :func:`loudness_lufs`.
    """
    loudness = loudness_lufs(samples, sampling_rate)
    return 1.0 if math.isinf(loudness) else 10 ** ((target_lufs - loudness) / 20)


class LoudnessMeter:
    """:func:`loudness_lufs` of audio that comes in pieces; keeps ten numbers a second."""

    def __init__(self, channels: int, sampling_rate: int) -> None:
        self.sampling_rate = check_sampling_rate(sampling_rate)
        if self.sampling_rate < _MIN_LOUDNESS_RATE:
            raise AudioError(f"loudness needs at least {_MIN_LOUDNESS_RATE} Hz, got {self.sampling_rate}")
        self.channels = channels
        self._weights = np.array(_CHANNEL_WEIGHTS.get(channels, (1,) * channels), np.float64)
        self._filter_state = np.zeros((channels, 4))
        self._n_samples = 0
        self._energies = array("d")  # of the finished segments of 100 ms, all channels together
        self._open_energy = 0.0  # of the segment under way

    def push(self, samples: Any) -> None:
        """Take in the next samples [C, n], as :func:`as_float` does.

        Raises:
            AudioError: as :func:`as_float`, and for another number of channels.
        """
        samples = as_float(samples)
        if len(samples) != self.channels:
            raise AudioError(f"got {len(samples)} channels, this meter has {self.channels}")
        for start in range(0, samples.shape[1], _BLOCK):
            self._push(samples[:, start : start + _BLOCK])

    def _push(self, samples: Samples) -> None:
        weighting = _k_weighting(self.sampling_rate)
        weighted, self._filter_state = weighting.apply(samples.astype(np.float64), self._filter_state)
        power = self._weights @ np.square(weighted)  # [n]
        begin, end = self._n_samples, self._n_samples + power.size
        n_finished = ((end + 1) * _SEGMENTS_PER_SECOND - 1) // self.sampling_rate  # last with _edge <= end
        edges = self._edge(np.arange(len(self._energies), n_finished) + 1)
        *finished, rest = np.split(power, edges - begin)
        for part in finished:
            self._energies.append(self._open_energy + float(part.sum()))
            self._open_energy = 0.0
        self._open_energy += float(rest.sum())
        self._n_samples = end

    def _edge(self, segment: Any) -> Any:
        """First sample of a segment; the segments of rates that ten does not divide differ by a sample."""
        return segment * self.sampling_rate // _SEGMENTS_PER_SECOND

    def integrated_lufs(self) -> float:
        """Loudness of everything so far, in LUFS; -inf if there is nothing above -70."""
        energies = np.array(self._energies)
        n_blocks = len(energies) - _SEGMENTS_PER_BLOCK + 1
        if n_blocks < 1:
            power = np.array([energies.sum() + self._open_energy]) / max(self._n_samples, 1)
        else:
            block = np.arange(n_blocks)
            lengths = self._edge(block + _SEGMENTS_PER_BLOCK) - self._edge(block)
            power = np.convolve(energies, np.ones(_SEGMENTS_PER_BLOCK), "valid") / lengths
        power = power[power > 10 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET_LUFS) / 10)]
        if not power.size:
            return -math.inf
        power = power[power > _RELATIVE_GATE * power.mean()]
        return _OFFSET_LUFS + 10 * math.log10(power.mean())


class _BlockFilter:
    """A recursive filter that works on blocks of samples at once, so that NumPy can run it.

    The filter is s' = A s + B x, y = C s + D x, with the state s before each sample. Over a block of L
    samples both are linear in the state at its start and in its samples, with matrices made of powers of A:

        y[k] = C A^k s + sum over j <= k of h[k - j] x[j],    h = D, C B, C A B, C A A B, ...
        s[L] = A^L s + sum over j of A^(L - 1 - j) B x[j]
    """

    LENGTH = 64

    def __init__(self, a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: float) -> None:
        powers = [np.eye(len(a))]
        for _ in range(self.LENGTH):
            powers.append(a @ powers[-1])
        self.powers = powers
        self.outputs_of_state = np.array([c @ power for power in powers[:-1]])  # [L, S]
        self.state_of_samples = np.array([power @ b for power in powers[-2::-1]]).T  # [S, L]
        response = np.concatenate([[d], self.outputs_of_state[:-1] @ b])
        lag = np.subtract.outer(np.arange(self.LENGTH), np.arange(self.LENGTH))
        self.outputs_of_samples = np.where(lag >= 0, response[lag], 0.0)  # [L, L]

    def apply(self, x: NDArray[Any], state: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """``x`` [C, n], n at least 1, filtered from ``state`` [C, S]; and the state after it."""
        channels, n = x.shape
        n_blocks = -(-n // self.LENGTH)
        blocks = np.pad(x, ((0, 0), (0, n_blocks * self.LENGTH - n))).reshape(channels, n_blocks, self.LENGTH)
        # The state at the start of each block is A^L times the one before, plus what the samples add: a
        # running sum with decay, which doubles its reach at every step.
        states = np.concatenate([state[:, None], blocks[:, :-1] @ self.state_of_samples.T], axis=1)
        decay, reach = self.powers[-1], 1
        while reach < n_blocks:
            states[:, reach:] += states[:, :-reach] @ decay.T
            decay, reach = decay @ decay, 2 * reach
        y = blocks @ self.outputs_of_samples.T + states @ self.outputs_of_state.T
        rest = x[:, (n_blocks - 1) * self.LENGTH :]  # the last block without padding
        n_rest = rest.shape[1]
        after = states[:, -1] @ self.powers[n_rest].T + rest @ self.state_of_samples[:, -n_rest:].T
        return y.reshape(channels, -1)[:, :n], after


@lru_cache(maxsize=16)
def _k_weighting(sampling_rate: int) -> _BlockFilter:
    """The two filters of BS.1770-4, one after the other, at any rate.

    The standard tabulates them for 48 kHz and asks for the same response at other rates. The table is the
    bilinear transform of two second-order sections, whose frequencies, gain and Q were found by B. De Man
    (Evaluation of Implementations of the EBU R128 Loudness Measurement, AES 145, 2018); here they are
    transformed for ``sampling_rate``.
    """
    shelf_hz, shelf_q, gain = 1681.9744509555319, 0.7071752369554193, 10 ** (3.99984385397 / 20)
    middle = gain**0.499666774155
    if 2 * shelf_hz < sampling_rate:
        k = _warp(shelf_hz, sampling_rate)
        shelf = _section((gain, middle * k / shelf_q, k * k), (1, k / shelf_q, k * k))
    else:
        shelf = _section((1, 0, 0), (1, 0, 0))  # it lies above everything that is there: no change

    pass_hz, pass_q = 38.13547087613982, 0.5003270373253953
    # The table does not divide this section's numerator by a0, which is a gain of 0.04 dB.
    k = _warp(pass_hz, 48000)
    gain = 1 + k / pass_q + k * k
    k = _warp(pass_hz, sampling_rate)
    high_pass = _section((gain, 0, 0), (1, k / pass_q, k * k))

    (a1, b1, c1, d1), (a2, b2, c2, d2) = shelf, high_pass
    a = np.block([[a1, np.zeros((2, 2))], [np.outer(b2, c1), a2]])
    return _BlockFilter(a, np.concatenate([b1, b2 * d1]), np.concatenate([d2 * c1, c2]), d1 * d2)


def _warp(hz: float, sampling_rate: int) -> float:
    """An analogue filter's frequency as the bilinear transform needs it."""
    return math.tan(math.pi * hz / sampling_rate)


def _section(
    numerator: tuple[float, float, float], denominator: tuple[float, float, float]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]:
    """State space of a second-order section, given by its coefficients of s^2, s and 1.

    The bilinear transform puts (1 - z^-1) / (1 + z^-1) for s. The state is that of the transposed direct
    form II.
    """
    (b0, b1, b2), (a0, a1, a2) = ((p + q + r, 2 * (r - p), p - q + r) for p, q, r in (numerator, denominator))
    b0, b1, b2, a1, a2 = b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0
    a = np.array([[-a1, 1], [-a2, 0]])
    return a, np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([1.0, 0.0]), b0
