"""Codes of 1 to 16 bits to bytes and back.

The bytes are the little-endian integer ``sum(code[i] << (width * i))``, so the first code is in the lowest
bits of the first byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(codes: NDArray[Any], width: int) -> bytes:
    """``codes`` (integers below ``2**width``, any shape, in C order) as ceil(n * width / 8) bytes."""
    pairs = np.ascontiguousarray(codes, dtype="<u2").reshape(-1, 1).view(np.uint8)  # [n, 2] bytes
    bits = np.unpackbits(pairs, axis=1, count=width, bitorder="little")  # [n, width]
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(data: bytes, width: int, n_codes: int) -> NDArray[np.uint16]:
    """The first ``n_codes`` codes in ``data``, uint16 [n_codes]; the inverse of :func:`pack`."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=n_codes * width, bitorder="little")
    pairs = np.zeros((n_codes, 2), np.uint8)
    pairs[:, : (width + 7) // 8] = np.packbits(bits.reshape(n_codes, width), axis=1, bitorder="little")
    return pairs.view("<u2")[:, 0].astype(np.uint16)


def has_clear_padding(data: bytes, width: int, n_codes: int) -> bool:
    """Whether the bits left over in the last byte of ``data`` after ``n_codes`` codes are zero."""
    used = n_codes * width % 8
    return used == 0 or data[-1] >> used == 0
