"""FLAC: whether a file is what its header says.

libsndfile reads such files exactly and fast, but trusts the header and stops at the length it claims. So the
frames are checked here, without decoding them, and anything unusual is left to FFmpeg.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

from dacodec.audio.source import Source

_READ = 1 << 20
_MOST_HEADER = 16  # bytes of a frame's header
_BLOCKS = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(256 << i for i in range(8)))
_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 0, 0, 0)
_RATES_IN_FULL = {12: 1000, 13: 1, 14: 10}  # units in Hz of rates written out in a frame
_BITS = {8: 1, 16: 4, 24: 6}  # bits that libsndfile reads, and their codes in a frame


def find_frames(data: bytes) -> int:
    """Where two consecutive frames begin in ``data``, which has no header; -1 if nowhere."""
    last: tuple[int, _Frame] | None = None
    at = data.find(b"\xff")
    while at >= 0:
        frame = _frame(data, at)
        if frame and last and frame.has_number == last[1].has_number:
            step = 1 if frame.has_number else last[1].n_samples
            if frame.number == last[1].number + step:
                return last[0]
        if frame:
            last = at, frame
        at = data.find(b"\xff", at + 1)
    return -1


class _Stream(NamedTuple):
    sampling_rate: int
    channels: int
    bits: int
    n_samples: int
    shortest: int  # frame, in bytes; 0 if unknown
    start: int  # byte of the first frame


def is_plain(source: Source) -> bool:
    """Whether all frames have 8, 16 or 24 bits and the header's rate, channels and number of samples.

    Leaves ``source``, which must be seekable, at position 0.
    """
    try:
        stream = _stream(source)
        return stream is not None and stream.bits in _BITS and _frames_agree(source, stream)
    except (struct.error, IndexError):
        return False
    finally:
        source.seek(0)


def _stream(source: Source) -> _Stream | None:
    """What the metadata says."""
    source.seek(0)
    if source.take(4) != b"fLaC":
        return None
    fields = None
    while True:
        head = struct.unpack(">I", source.take(4))[0]
        kind, size = head >> 24 & 0x7F, head & 0xFFFFFF
        if kind == 0 and fields is None:
            sizes, fields = struct.unpack(">4xI2xQ", source.take(18))
            size -= 18
        source.seek(size, io.SEEK_CUR)
        if head >> 31:
            break
    if fields is None:
        return None
    rate, channels, bits = fields >> 44, (fields >> 41 & 7) + 1, (fields >> 36 & 31) + 1
    return _Stream(rate, channels, bits, fields & (1 << 36) - 1, sizes >> 8, source.tell())


def _frames_agree(source: Source, stream: _Stream) -> bool:
    """Checks every frame's first bytes, and the whole header only if they are unusual."""
    source.seek(stream.start)
    data = source.take(_READ)
    first = _frame(data, 0)
    if first is None or not _is_of(first, stream):
        return False
    sync, rate_code = data[:2], data[2] & 15
    usual = _usual_fourth_bytes(first) if rate_code not in _RATES_IN_FULL else frozenset()
    last, shortest = None, max(2, stream.shortest)
    while data:
        likely = []
        at = data.find(sync)
        while 0 <= at < len(data) - 3:
            step = 2
            if data[at + 2] & 15 == rate_code and data[at + 3] in usual:
                likely.append(at)
                step = shortest
            elif (frame := _frame(data, at)) is not None:
                before = _last(data, likely) or last
                if before is None or frame.follows(before, first):
                    if not _is_of(frame, stream):
                        return False
                    likely.append(at)
            at = data.find(sync, at + step)
        last = _last(data, likely) or last
        more = source.take(_READ)
        data = data[-_MOST_HEADER:] + more if more else b""
    ends = () if last is None else (last.start(first) + last.n_samples, last.number + last.n_samples)
    return (
        stream.n_samples == 0 or stream.n_samples in ends
    )  # an old encoder numbers samples, and says frames


def _last(data: bytes, likely: list[int]) -> _Frame | None:
    return next((frame for at in reversed(likely) if (frame := _frame(data, at))), None)


def _is_of(frame: _Frame, stream: _Stream) -> bool:
    return (
        frame.sampling_rate in (0, stream.sampling_rate)
        and frame.channels == stream.channels
        and (frame.bits == 0 or frame.bits in _BITS.values())  # they may change; libsndfile follows
    )


def _usual_fourth_bytes(first: _Frame) -> frozenset[int]:
    """The fourth bytes of headers like the first: its channels, in each way of coding them, and its bits."""
    codes = (1, 8, 9, 10) if first.channels == 2 else (first.channels - 1,)
    return frozenset(code << 4 | first.bits << 1 for code in codes)


class _Frame(NamedTuple):
    """What a frame's header says; a rate or number of bits of 0 means the stream's."""

    has_number: bool  # of the frame, else of its first sample
    number: int
    n_samples: int
    sampling_rate: int
    channels: int
    bits: int  # the code for them

    def start(self, first: _Frame) -> int:
        """Its first sample."""
        return self.number * first.n_samples if self.has_number else self.number

    def follows(self, before: _Frame, first: _Frame) -> bool:
        """Whether its number is the next one."""
        steps = (1, before.n_samples) if self.has_number else (before.n_samples,)
        return self.number - before.number in steps


def _frame(data: bytes, at: int) -> _Frame | None:
    """The header at ``at``, if there is one and its checksum matches (RFC 9639, 9.1)."""
    head = data[at : at + _MOST_HEADER]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    block_code, rate_code = head[2] >> 4, head[2] & 15
    if block_code == 0 or rate_code == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    n_bytes = 1 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length()  # as in UTF-8
    if n_bytes > 7 or (n_bytes == 1 and head[4] >= 0x80):
        return None
    number = head[4] if n_bytes == 1 else head[4] & (0x7F >> n_bytes)
    for byte in head[5 : 4 + n_bytes]:
        number = number << 6 | byte & 0x3F
    end = 4 + n_bytes
    block_bytes = {6: 1, 7: 2}.get(block_code, 0)
    rate_bytes = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(head) < end + block_bytes + rate_bytes + 1:
        return None
    n_samples = (
        int.from_bytes(head[end : end + block_bytes], "big") + 1 if block_bytes else _BLOCKS[block_code]
    )
    end += block_bytes
    rate = int.from_bytes(head[end : end + rate_bytes], "big") * _RATES_IN_FULL.get(rate_code, 0)
    end += rate_bytes
    crc = 0
    for byte in head[:end]:
        crc = _CRC8[crc ^ byte]
    if crc != head[end]:
        return None
    channels = head[3] >> 4
    channels = 2 if channels >= 8 else channels + 1
    return _Frame(head[1] == 0xF8, number, n_samples, rate or _RATES[rate_code], channels, head[3] >> 1 & 7)


def _crc8(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
    return byte & 0xFF


_CRC8 = bytes(map(_crc8, range(256)))
