"""Stored samples of any kind as float32, full scale at -1 and 1."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.audio.arrays import Samples
from dacodec.audio.containers import SampleType


def to_float(data: bytes, sample: SampleType, channels: int) -> Samples:
    """Interleaved ``data`` as [C, n]."""
    kind, n_bytes, big_endian = sample
    order = ">" if big_endian else "<"
    if kind in ("ulaw", "alaw"):
        codes = np.frombuffer(data, np.uint8).reshape(-1, channels).T
        return np.ascontiguousarray(_g711(kind)[codes], np.float32)
    if kind == "float":
        values = np.frombuffer(data, f"{order}f{n_bytes}").reshape(-1, channels).T
        with np.errstate(over="ignore"):  # becomes infinity, which is reported with its position
            return np.ascontiguousarray(values, np.float32)
    if n_bytes == 1:
        integers = np.frombuffer(data, np.int8) if kind == "integer" else np.frombuffer(data, np.uint8)
        zero = np.float32(0 if kind == "integer" else 1)
        return np.asarray(scaled(integers.reshape(-1, channels), 7) - zero)
    if n_bytes in (2, 4):
        return scaled(np.frombuffer(data, f"{order}i{n_bytes}").reshape(-1, channels), 8 * n_bytes - 1)
    return scaled(_upper_32_bits(data, n_bytes, big_endian).reshape(-1, channels), 31)


def scaled(integers: NDArray[Any], bits: int) -> Samples:
    """Integers [n, C] as floats [C, n]: 2 ** ``bits`` becomes 1."""
    scale = np.float32(2.0**-bits)
    return np.asarray(np.multiply(integers.T, scale, dtype=np.float32, order="C", casting="unsafe"))


def _upper_32_bits(data: bytes, n_bytes: int, big_endian: bool) -> NDArray[np.int32]:
    """The upper 32 bits of integers of 3 or 5 to 8 bytes; 3 bytes are shifted up."""
    if n_bytes == 3:
        # Each read as 4 bytes, of which the lowest belongs to its neighbour and is cleared.
        padded = data + b"\0" if big_endian else b"\0" + data
        overlapping = np.ndarray((len(data) // 3,), ">i4" if big_endian else "<i4", padded, strides=(3,))
        return np.asarray(overlapping & np.int32(-256))
    values = np.frombuffer(data, np.uint8).reshape(-1, n_bytes)
    upper = values[:, :4] if big_endian else values[:, -4:]
    return np.ascontiguousarray(upper).view(">i4" if big_endian else "<i4")[:, 0].astype(np.int32)


@lru_cache(maxsize=2)
def _g711(kind: str) -> NDArray[np.float32]:
    """The 256 values of ITU-T G.711."""
    code = np.arange(256)
    if kind == "ulaw":
        code = ~code & 0xFF
        magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
        values = np.where(code & 0x80, -magnitude, magnitude)
    else:
        code = code ^ 0x55
        exponent, step = code >> 4 & 7, (code & 0x0F) << 4
        magnitude = np.where(exponent, step + 0x108 << np.maximum(exponent - 1, 0), step + 8)
        values = np.where(code & 0x80, magnitude, -magnitude)
    return (values / 32768).astype(np.float32)
