"""Raw interleaved samples, as programs pass them through pipes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dacodec.audio.arrays import MAX_CHANNELS, Samples
from dacodec.errors import AudioError

SampleFormat = Literal["s16le", "s32le", "f32le"]
SAMPLE_FORMATS: tuple[str, ...] = get_args(SampleFormat)
_BITS = {"s16le": 16, "s32le": 32}
_READ_BYTES = 1 << 16


def check_channels(channels: int) -> int:
    """``channels``, or AudioError unless there are 1 to 255."""
    if channels < 1:
        raise AudioError(f"{channels} channels: there must be at least one")
    if channels > MAX_CHANNELS:
        raise AudioError(f"it has {channels} channels, more than {MAX_CHANNELS}")
    return channels


def pcm_blocks(file: BinaryIO, channels: int, format: SampleFormat) -> Iterator[Samples]:
    """Blocks [C, n] as they arrive."""
    dtype = _dtype(format)
    size = dtype.itemsize * channels
    # Read only what is available, if the file can do that: a live source is not delayed.
    take = getattr(file, "read1", file.read)
    rest = b""
    while data := take(_READ_BYTES):
        data = rest + data
        whole = len(data) // size * size
        rest = data[whole:]
        if whole:
            yield _to_float(np.frombuffer(data[:whole], dtype).reshape(-1, channels).T)
    if rest:
        raise AudioError(
            f"{len(rest)} bytes are left at the end, less than a sample of {channels} channel(s)"
        )


def pcm_bytes(samples: Samples, format: SampleFormat) -> bytes:
    """``samples`` [C, n] interleaved. For integer formats they are rounded and clipped."""
    values = quantized(samples, _BITS[format]) if format in _BITS else samples
    return bytes(values.T.astype(_dtype(format)).tobytes())


def quantized(samples: Samples, bits: int) -> NDArray[np.int64]:
    """Rounded to integers of ``bits`` bits, and clipped."""
    full_scale = 2.0 ** (bits - 1)
    integers = np.rint(samples * full_scale, dtype=np.float64).clip(-full_scale, full_scale - 1)
    return np.asarray(integers.astype(np.int64))


def _dtype(format: SampleFormat) -> np.dtype[Any]:
    if format not in SAMPLE_FORMATS:
        raise AudioError(f"no sample format is called {format!r}; there are {', '.join(SAMPLE_FORMATS)}")
    return np.dtype({"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}[format])


def _to_float(values: NDArray[Any]) -> Samples:
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, np.float32)
    return (values / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)
