"""Audio files out: whole, or block by block in constant memory."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from dacodec.audio.arrays import Samples, as_float, check_sampling_rate
from dacodec.audio.messages import File, explained, reason
from dacodec.audio.pcm import SampleFormat, pcm_bytes, quantized
from dacodec.errors import AudioError

_BLOCK = 1 << 16  # samples per channel written at once
_PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_BY_SUFFIX = {"OPUS": ("OGG", "OPUS"), "OGA": ("OGG", "VORBIS"), "AIF": ("AIFF", "PCM_16")}
_MOST_WAV_BYTES = (1 << 32) - (1 << 16)  # sizes in a WAV file have 32 bits


def write(
    file: File, samples: Any, sampling_rate: int, subtype: str | None = None, format: str | None = None
) -> None:
    """Write an audio file.

    Args:
        file: path, or a binary file object.
        samples: anything :func:`as_float` takes. Clipped to [-1, 1], unless the file holds floats.
        sampling_rate: Hz.
        subtype: encoding of the samples in soundfile's terms, such as ``"PCM_24"`` or ``"FLOAT"``. By default
            the format's usual one: 16-bit PCM for WAV and FLAC.
        format: such as ``"WAV"``; by default taken from the file's suffix. A file object whose name has none
            is written as WAV.

    Raises:
        AudioError: if the audio is invalid, the format does not exist or cannot hold such audio, or the file
            cannot be written. Exceptions from a file object are passed on.
    """
    samples, sampling_rate = as_float(samples), check_sampling_rate(sampling_rate)
    with explained("write", file):
        buffer = io.BytesIO()  # so that an error leaves no partial file
        format, subtype = _choose_format(file, format, subtype)
        with AudioWriter(buffer, sampling_rate, len(samples), subtype=subtype, format=format) as writer:
            writer.write(samples)
    if isinstance(file, (str, os.PathLike)):
        try:
            with explained("write", file):
                Path(file).write_bytes(buffer.getbuffer())
        except AudioError as error:
            if not Path(file).parent.is_dir():
                raise AudioError(
                    f"{str(error).rpartition(': ')[0]}: there is no such folder; make it first"
                ) from None
            raise
    else:
        file.write(buffer.getbuffer())


class Writer(Protocol):
    """Takes audio block by block; a context manager that finishes the file, except after an exception."""

    def write(self, samples: Samples) -> None: ...

    def __enter__(self) -> Writer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AudioWriter:
    """:func:`write`, block by block.

    Args:
        file: open for binary writing and seekable; it stays open.
        channels: C.
        n_samples: per channel, if known: a WAV file beyond 4 GB is written as RF64.

    Raises:
        AudioError: if the format does not exist or cannot hold such audio. Exceptions from ``file`` are
            passed on.
    """

    def __init__(
        self,
        file: BinaryIO,
        sampling_rate: int,
        channels: int,
        *,
        subtype: str | None = None,
        format: str | None = None,
        n_samples: int | None = None,
    ) -> None:
        format, self._subtype = _choose_format(file, format, subtype)
        size = channels * _PCM_BITS.get(self._subtype, 64) // 8
        if format == "WAV" and n_samples is not None and n_samples * size > _MOST_WAV_BYTES:
            format = "RF64"
        self._file = _Guarded(file)
        try:
            self._sound = soundfile.SoundFile(
                self._file, "w", sampling_rate, channels, self._subtype, format=format
            )
        except soundfile.LibsndfileError as error:
            self._file.check()
            what = f"{format} {self._subtype} with {channels} channels at {sampling_rate} Hz"
            raise AudioError(f"{reason(error)} (asked for {what}; try .wav)") from None

    def write(self, samples: Samples) -> None:
        """The next samples [C, n]."""
        for start in range(0, samples.shape[1], _BLOCK):
            self._sound.write(_encodable(samples[:, start : start + _BLOCK], self._subtype).T)
            self._file.check()

    def close(self) -> None:
        """Finish the file."""
        self._sound.close()
        self._file.check()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._sound.close()  # the file is incomplete anyway; the first error counts


class PcmWriter:
    """Raw samples or a WAV file, to an unseekable file such as a pipe. Otherwise like :class:`AudioWriter`."""

    def __init__(self, file: BinaryIO, format: SampleFormat = "s16le") -> None:
        self._file, self._format = file, format

    @classmethod
    def wav(
        cls, file: BinaryIO, sampling_rate: int, channels: int, n_samples: int | None = None
    ) -> PcmWriter:
        """A 16-bit WAV file. If ``n_samples`` is unknown or too large, its sizes say so (all ones)."""
        size = 2 * channels * n_samples if n_samples is not None else _MOST_WAV_BYTES
        sizes = (size + 36, size) if size < _MOST_WAV_BYTES else (0xFFFFFFFF, 0xFFFFFFFF)
        rates = (sampling_rate, sampling_rate * 2 * channels, 2 * channels)
        file.write(
            struct.pack(
                "<4sI4s4sIHHIIHH4sI",
                b"RIFF",
                sizes[0],
                b"WAVE",
                b"fmt ",
                16,
                1,
                channels,
                *rates,
                16,
                b"data",
                sizes[1],
            )
        )
        return cls(file)

    def write(self, samples: Samples) -> None:
        """The next samples [C, n]."""
        self._file.write(pcm_bytes(samples, self._format))

    def __enter__(self) -> PcmWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.flush()


class _Guarded:
    """A file that stores its errors, since exceptions cannot pass through libsndfile, which calls it.

    Writing a file by itself, soundfile reports a full disk as a failed assertion.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None
        self.seek, self.tell, self.read = file.seek, file.tell, file.read

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def check(self) -> None:
        """Raise the error stored since the last check, if any."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def _encodable(samples: Samples, subtype: str) -> NDArray[Any]:
    """Clipped, and rounded if samples become integers: for WAV, libsndfile would only truncate."""
    if subtype in ("FLOAT", "DOUBLE"):
        return samples
    if subtype not in _PCM_BITS:
        return np.clip(samples, -1, 1)
    bits = _PCM_BITS[subtype]
    return (quantized(samples, bits) << (32 - bits)).astype(np.int32)  # libsndfile keeps the upper bits


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
