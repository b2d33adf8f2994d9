"""Audio files in: whole, or block by block in constant memory."""

from __future__ import annotations

import io
import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import soundfile

from dacodec.audio.arrays import Samples, check_finite, check_sampling_rate
from dacodec.audio.messages import File, explained, reason
from dacodec.audio.pcm import SampleFormat, check_channels, pcm_blocks
from dacodec.audio.resampling import resample_blocks
from dacodec.errors import AudioError

BLOCK = 1 << 16  # samples per channel that are read at once

# Beyond these, a length in a header is no claim: programs that write to a pipe cannot know better.
_UNKNOWN_FRAMES = 1 << 62
_UNKNOWN_BYTES = (1 << 31) - (1 << 16)
_UNRECOGNISED = 1  # libsndfile's code for a format it does not know
_GUESSED = ("MP3", "OGG")  # no claims of a length: an MP3's is an estimate, an Ogg file's is found at its end
# What FFmpeg may open for us. Left to itself it also follows playlists, which name other files and hosts; and
# it would quietly read what libsndfile rightly calls damaged.
_FFMPEG_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,aac,mp3,asf,flv,mpegts,wv,ape,ac3,eac3,amr"


class Audio(NamedTuple):
    samples: Samples  # [C, T]
    sampling_rate: int  # Hz


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
    with AudioReader(file) as reader:
        return Audio(np.concatenate(list(reader.blocks()), axis=1), reader.sampling_rate)


class AudioReader:
    """The same, block by block. Close it, or use it as a context manager.

    Args:
        file: path or binary file object as for :func:`read`. An open pipe is read as it comes; then the format
            must be one that can be read so, as WAV.

    Attributes:
        sampling_rate: in Hz.
        channels: C.
        n_samples: samples per channel; None where only the end will tell.

    Raises:
        AudioError: here and on reading, as :func:`read`.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        with explained("read", file):
            self._source, self._decoder = _open(file)
            self.sampling_rate = check_sampling_rate(self._decoder.sampling_rate)
            self.channels = check_channels(self._decoder.channels)
        self.n_samples = self._decoder.n_samples

    def blocks(self) -> Iterator[Samples]:
        """All samples, once, in blocks [C, n]."""
        with explained("read", self._file):
            position = 0
            for block in self._decoded():
                check_finite(block, position)
                position += block.shape[1]
                yield block
            if not position:
                raise AudioError("it holds no samples")

    def _decoded(self) -> Iterator[Samples]:
        position = 0
        try:
            for block in self._decoder.blocks():
                yield block
                position += block.shape[1]
        except soundfile.SoundFileError as error:
            if getattr(self._decoder, "format", None) != "OGG":
                raise
            self._decoder.close()
            self._decoder = other = _AvDecoder(self._source, reason(error))
            yield from _without_first(
                resample_blocks(other.blocks(), other.sampling_rate, self.sampling_rate), position
            )

    def close(self) -> None:
        self._decoder.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PcmReader:
    """Bare samples from ``file``, as programs pass them through pipes; otherwise like :class:`AudioReader`."""

    n_samples: int | None = None

    def __init__(
        self, file: BinaryIO, sampling_rate: int, channels: int, format: SampleFormat = "s16le"
    ) -> None:
        self.sampling_rate = check_sampling_rate(sampling_rate)
        self.channels = check_channels(channels)
        self._file, self._format = file, format

    def blocks(self) -> Iterator[Samples]:
        """As :meth:`AudioReader.blocks`; a block is whatever a read gives, so a live source is not held up."""
        position = 0
        with explained("read", self._file):
            for block in pcm_blocks(self._file, self.channels, self._format):
                check_finite(block, position)
                position += block.shape[1]
                yield block
            if not position:
                raise AudioError("it holds no samples")

    def close(self) -> None:
        """The file is its owner's to close."""


class _Decoder(Protocol):
    sampling_rate: int
    channels: int
    n_samples: int | None

    def blocks(self) -> Iterator[Samples]: ...

    def close(self) -> None: ...


_Source = bytes | str | int | BinaryIO


def _open(file: File) -> tuple[_Source, _Decoder]:
    source, head = _open_source(file)
    try:
        return source, _SoundFileDecoder(source)
    except soundfile.LibsndfileError as error:
        if isinstance(source, int):
            raise AudioError(
                f"{reason(error)}; only WAV can be read from a pipe, save others to a file"
            ) from None
        if error.code != _UNRECOGNISED and head != b"OggS":
            raise
        return source, _AvDecoder(source, reason(error))


def _open_source(file: File) -> tuple[_Source, bytes]:
    """A path or pipe for soundfile, or a file object that can seek and stands at 0; and the first bytes."""
    if isinstance(file, (str, os.PathLike)):
        path = Path(file)
        if path.is_file():
            with path.open("rb") as opened:
                head = opened.read(4)
            # As bytes where it can be, because soundfile cannot encode a name that is not UTF-8.
            return os.fsencode(path) if os.name == "posix" else str(path), _not_empty(head)
        file = io.BytesIO(path.read_bytes())  # a pipe, as a shell makes of <(command)
    elif not file.seekable():
        try:
            pipe = os.dup(file.fileno())
        except OSError:
            file = io.BytesIO(file.read())
        else:
            select.select([pipe], [], [])  # soundfile lets no other thread open anything while it waits
            return pipe, b""
    elif file.tell():
        file = io.BytesIO(file.read())
    head = file.read(4)
    file.seek(0)
    return file, _not_empty(head)


def _not_empty(head: bytes) -> bytes:
    if not head:
        raise AudioError("it is empty")
    return head


def _without_first(blocks: Iterator[Samples], n_samples: int) -> Iterator[Samples]:
    for block in blocks:
        yield block[:, n_samples:]
        n_samples = max(0, n_samples - block.shape[1])


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Read from front to back only.

    After each read soundfile seeks to where it should be anyway, and that fails at the end of a FLAC file
    whose header does not know its length.
    """

    def seekable(self) -> bool:
        return False


class _SoundFileDecoder:
    """By libsndfile."""

    def __init__(self, source: _Source) -> None:
        self._sound = _ForwardFile(source)
        self.sampling_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.format: str = self._sound.format
        known = self.format not in _GUESSED and not isinstance(source, int)
        self.n_samples = self._sound.frames if known and self._sound.frames < _UNKNOWN_FRAMES else None

    def blocks(self) -> Iterator[Samples]:
        # Nothing is allocated by what the header claims.
        length = 0
        while True:
            try:
                block = self._sound.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                if self.format == "OGG":
                    raise  # another chance for the Opus files that libsndfile misjudges
                raise AudioError(f"it is damaged or cut off ({reason(error)}); get a complete copy") from None
            length += len(block)
            if len(block):
                yield np.ascontiguousarray(block.T)
            if len(block) < BLOCK:
                break
        claim = self._broken_claim(length)
        if claim:
            raise AudioError(f"its header claims {claim}; it was cut off, get a complete copy")

    def close(self) -> None:
        self._sound.close()

    def _broken_claim(self, length: int) -> str | None:
        """What the header claims beyond the ``length`` samples that were there."""
        if self.format in _GUESSED:
            return None
        if self.n_samples is not None and length < self.n_samples:
            return f"{self.n_samples} samples, the file holds {length}"
        # For WAV and AIFF libsndfile corrects the claim silently, and tells only its log.
        log = self._sound.extra_info
        for claimed, held in re.findall(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", log, re.M):
            if int(held) + 1 < int(claimed) < _UNKNOWN_BYTES:
                return f"{claimed} bytes of audio, the file holds {held}"
        return None


class _AvDecoder:
    """By PyAV (FFmpeg), what libsndfile would not for ``complaint``."""

    n_samples: int | None = None

    def __init__(self, source: _Source, complaint: str) -> None:
        try:
            import av
        except ImportError:
            raise AudioError(
                f"{complaint}; if it is m4a, webm, Opus or another format that FFmpeg knows: "
                "pip install dacodec[av]"
            ) from None
        self._av = av
        self._complaint = f"{complaint}; FFmpeg cannot read it either; is it audio?"
        self._opened: BinaryIO | None = None
        if isinstance(source, (bytes, str)):  # always by file object: FFmpeg takes some paths for protocols
            source = self._opened = Path(os.fsdecode(source)).open("rb")  # noqa: SIM115
        assert not isinstance(source, int)
        source.seek(0)
        try:
            self._container: Any = av.open(source, options={"format_whitelist": _FFMPEG_FORMATS})
        except (av.FFmpegError, ValueError):
            self._close_file()
            raise AudioError(self._complaint) from None
        if not self._container.streams.audio:
            self.close()
            raise AudioError("it has no audio track")
        self._stream = self._container.streams.audio[0]
        self.sampling_rate: int = self._stream.rate
        self.channels: int = self._stream.channels
        duration, unit = self._stream.duration, self._stream.time_base
        if "mp4" in self._container.format.name and duration and unit:
            # The track's length without what fills its last packet. In other formats it may be a guess.
            self.n_samples = round(duration * unit * self.sampling_rate)

    def blocks(self) -> Iterator[Samples]:
        planar = self._av.AudioResampler(format="fltp")  # of the sample format only
        left = self.n_samples
        try:
            for frame in self._container.decode(self._stream):
                if frame.sample_rate != self.sampling_rate:
                    raise AudioError(
                        f"its sampling rate changes on the way, from {self.sampling_rate} to "
                        f"{frame.sample_rate} Hz; convert it to one rate first"
                    )
                for part in planar.resample(frame):
                    block = np.asarray(part.to_ndarray(), np.float32)[:, :left]
                    if left is not None:
                        left -= block.shape[1]
                    yield block
        except AudioError:
            raise
        except (self._av.FFmpegError, ValueError):
            raise AudioError(self._complaint) from None
        if left:
            raise AudioError(f"its header claims {self.n_samples} samples, {left} of them are missing")

    def close(self) -> None:
        self._container.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._opened:
            self._opened.close()
