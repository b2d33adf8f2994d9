"""Binary range coding: bits and their probabilities to bytes, one segment at a time, and back, many at once.

See docs/format.md, "The range coder". Probabilities are those of a 1, in units of 1/65536, from 22 to 65513.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FULL = 2**32 - 1  # range at the start
LEAST = 2**16  # least range between two decisions


def encode(bits: list[int], probabilities: list[int]) -> bytes:
    """The shortest bytes that :class:`RangeDecoder` decodes to ``bits``."""
    out = bytearray()
    low, range_ = 0, FULL
    for bit, p in zip(bits, probabilities, strict=True):
        bound = range_ * p >> 16
        if bit:
            range_ = bound
        else:
            low += bound
            range_ -= bound
        if range_ < LEAST:
            if low > FULL:
                _carry(out)
            out += (low >> 16 & 0xFFFF).to_bytes(2, "big")
            low, range_ = (low & 0xFFFF) << 16, range_ << 16
    return _finished(out, low, range_)


def _finished(out: bytearray, low: int, range_: int) -> bytes:
    """``out`` and the number in the final range with the most trailing zero bytes, without those."""
    for zero_bits in (32, 24, 16, 8, 0):
        number = -(-low >> zero_bits) << zero_bits
        if number < low + range_:
            break
    if number > FULL:
        _carry(out)
    return bytes(out + (number & FULL).to_bytes(4, "big")).rstrip(b"\0")


def _carry(out: bytearray) -> None:
    """Add one to ``out`` read as a number, which is never all ones here."""
    i = len(out) - 1
    while out[i] == 0xFF:
        out[i] = 0
        i -= 1
    out[i] += 1


class RangeDecoder:
    """Decodes segments [K][P] in parallel, a bit of each at a time; the bits of None are arbitrary."""

    def __init__(self, segments: list[list[bytes | None]]) -> None:
        shape = (len(segments), len(segments[0]))
        lanes = [segment or b"" for packets in segments for segment in packets]
        size = (
            2 * (max(map(len, lanes)) // 2) + 6
        )  # whole words, at least two of them zero, the first words too
        data = np.frombuffer(b"".join(lane.ljust(size, b"\0") for lane in lanes), ">u2")
        self._words = data.astype(np.int64)
        ends = np.arange(1, len(lanes) + 1) * (size // 2) - 1
        self._zero = ends.reshape(shape)  # position of a zero word, read beyond a segment's end
        self._next = self._zero - (size // 2 - 3)
        self._value = self._words[self._next - 2] << 16 | self._words[self._next - 1]
        self._range = np.full(shape, FULL)

    def decode(self, lanes: slice, p: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The next bit of each segment in the slice, given the probabilities [k, P] of a 1."""
        value, range_ = self._value[lanes], self._range[lanes]
        bound = range_ * p >> 16
        bit = value < bound
        value = np.where(bit, value, value - bound)
        range_ = np.where(bit, bound, range_ - bound)
        short = range_ < LEAST
        place = self._next[lanes]
        self._value[lanes] = np.where(short, value << 16 | self._words[place], value)
        self._range[lanes] = np.where(short, range_ << 16, range_)
        self._next[lanes] = np.minimum(place + short, self._zero[lanes])
        return bit
