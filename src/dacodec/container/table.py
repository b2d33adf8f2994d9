"""The table of a coded packet: which segments are coded, and how many bytes each saves."""

from __future__ import annotations

from dacodec.container.stream import Source
from dacodec.errors import FormatError


def table_to_bytes(savings: dict[int, int]) -> bytes:
    """The table of ``savings`` (codebook to bytes saved); empty for a raw packet."""
    if not savings:
        return b""
    mask = sum(1 << k for k in savings)
    return b"".join(map(_varint, (mask, *savings.values())))


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(data) + bytes([value])


def take_table(source: Source, n_codebooks: int, full: int) -> tuple[dict[int, int], bytes]:
    """The savings of a packet of ``n_codebooks`` segments of ``full`` raw bytes, and the table's bytes.

    Raises:
        FormatError: with the offset of what is wrong.
    """
    offset = source.offset
    mask, data = _take_varint(source, n_codebooks)
    if mask == 0:
        raise FormatError("a coded packet without a coded segment", offset)
    savings = {}
    for k in range(n_codebooks):
        if mask >> k & 1:
            offset = source.offset
            savings[k], more = _take_varint(source, full.bit_length())
            if not 1 <= savings[k] <= full:
                raise FormatError(f"codebook {k} saves {savings[k]} of {full} bytes", offset)
            data += more
    return savings, data


def _take_varint(source: Source, bits: int) -> tuple[int, bytes]:
    """A varint below ``2**bits``, and its bytes."""
    offset = source.offset
    data = source.take(1, "a packet's table")
    while data[-1] & 0x80 and 7 * len(data) < bits:
        data += source.take(1, "a packet's table")
    value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data))
    if data[-1] & 0x80 or value >> bits or (len(data) > 1 and data[-1] == 0):
        raise FormatError("a packet's table holds a number that is too large or badly spelled", offset)
    return value, data
