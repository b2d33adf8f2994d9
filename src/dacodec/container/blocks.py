"""Blocks of the file to bytes and back: packets in segments, index, end mark. Codes and order are left to
others.

A packet's segments can be dropped, checked and stored again without decoding them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dacodec.container.format import (
    CODED,
    CRC_BYTES,
    END,
    INDEX,
    MAX_CODED_CODES,
    MAX_SAMPLES,
    RAW,
    SYNC,
    code_bits,
    crc16,
    seal_holds,
    sealed,
    segment_bytes,
)
from dacodec.container.header import Header
from dacodec.container.stream import Source
from dacodec.container.table import table_to_bytes, take_table
from dacodec.errors import FormatError

HEAD = struct.Struct("<2sBBHIH")  # sync, kind, n_codebooks, n_frames, first_frame, head_crc
HEAD_CRC = struct.Struct("<H")
ENTRY = struct.Struct("<IQ")  # of an index: first_frame, offset
END_BODY = struct.Struct("<QI")  # n_samples, index_length
NAMES = {RAW: "a packet", CODED: "a packet", INDEX: "the index", END: "the end mark"}


@dataclass(frozen=True)
class Head:
    """The first 12 bytes of a block; for an index, ``n_frames`` is its number of entries."""

    kind: int
    n_codebooks: int
    n_frames: int
    first_frame: int

    def to_bytes(self) -> bytes:
        data = HEAD.pack(SYNC, self.kind, self.n_codebooks, self.n_frames, self.first_frame, 0)
        data = data[: -HEAD_CRC.size]
        return data + HEAD_CRC.pack(crc16(data))


class Segment(NamedTuple):
    """The codes of a codebook in a packet, packed or coded."""

    data: bytes
    is_coded: bool


@dataclass(frozen=True)
class PacketBlock:
    """A packet with its segments undecoded.

    Args:
        first_frame: number of frames before this packet in the file.
        n_frames: in this packet.
        segments: one for each codebook, lowest first.
        offset: its position in the file; 0 if it is in none.
        body_offset: position of its first segment.
    """

    first_frame: int
    n_frames: int
    segments: Sequence[Segment]
    offset: int = 0
    body_offset: int = HEAD.size

    def offset_of(self, codebook: int) -> int:
        """Position of a codebook's segment in the file."""
        return self.body_offset + sum(len(segment.data) for segment in self.segments[:codebook])


class Entry(NamedTuple):
    """An entry of an index: the packet at ``offset`` in the file starts with frame ``first_frame``."""

    first_frame: int
    offset: int


class End(NamedTuple):
    """The end mark's body."""

    n_samples: int
    index_length: int


class RawBlock(NamedTuple):
    """A block as read, its CRC and order not yet checked."""

    head: Head
    savings: dict[int, int]  # of the coded segments: codebook to bytes saved
    data: bytes  # all of it
    body_start: int  # where the segments, entries or the end mark's numbers start
    offset: int


# Writing


def packet_to_bytes(header: Header, packet: PacketBlock) -> bytes:
    """The packet as stored in a file."""
    full = raw_bytes(header, packet.n_frames)
    savings = {k: full - len(data) for k, (data, is_coded) in enumerate(packet.segments) if is_coded}
    kind = CODED if savings else RAW
    head = Head(kind, len(packet.segments), packet.n_frames, packet.first_frame)
    table = table_to_bytes(savings)
    return sealed(head.to_bytes() + table + b"".join(data for data, _ in packet.segments))


def index_to_bytes(n_frames: int, entries: Sequence[Entry]) -> bytes:
    """The index of a file of ``n_frames`` frames."""
    head = Head(INDEX, 0, len(entries), n_frames)
    return sealed(head.to_bytes() + b"".join(ENTRY.pack(*entry) for entry in entries))


def end_to_bytes(n_frames: int, end: End) -> bytes:
    """The end mark of a file of ``n_frames`` frames."""
    return sealed(Head(END, 0, 0, n_frames).to_bytes() + END_BODY.pack(*end))


def raw_bytes(header: Header, n_frames: int) -> int:
    """Bytes of a raw segment."""
    return segment_bytes(header.channels * n_frames, code_bits(header.codebook_size))


# Reading


def take_block(header: Header, source: Source, what: str) -> RawBlock:
    """Take the next block from ``source``, and not a byte more.

    Raises:
        FormatError: with the offset, for a head or table that breaks the format.
    """
    offset = source.offset
    start = source.take(HEAD.size, what)
    head = parse_head(header, start, offset)
    savings: dict[int, int] = {}
    if head.kind == CODED:
        savings, table = take_table(source, head.n_codebooks, raw_bytes(header, head.n_frames))
        start += table
    rest = source.take(_body_length(header, head, savings) + CRC_BYTES, NAMES[head.kind])
    return RawBlock(head, savings, start + rest, len(start), offset)


def check_crc(block: RawBlock) -> None:
    """Raise FormatError unless the CRC at the end of ``block`` matches."""
    if not seal_holds(block.data):
        raise FormatError(f"{NAMES[block.head.kind]} is damaged: its CRC does not match", block.offset)


def parse_head(header: Header, data: bytes, offset: int) -> Head:
    """The head in the 12 bytes ``data``, at ``offset`` in the file, checked against ``header``.

    Raises:
        FormatError: with the offset of what is wrong.
    """
    sync, kind, n_codebooks, n_frames, first_frame, crc = HEAD.unpack(data)
    if sync != SYNC:
        raise FormatError("a packet or the end mark should start here", offset)
    if crc16(data[: -HEAD_CRC.size]) != crc:
        raise FormatError("the head of a packet is damaged: its CRC does not match", offset)
    if kind not in NAMES:
        raise FormatError(f"unknown kind {kind:#04x} of block", offset + 2)
    if kind == CODED and header.prior_id is None:
        raise FormatError("a coded packet, but the header names no prior", offset + 2)
    least, most = (1, header.n_codebooks) if kind in (RAW, CODED) else (0, 0)
    if not least <= n_codebooks <= most:
        raise FormatError(f"{n_codebooks} codebooks, not in {least}..{most}", offset + 3)
    least, most = {INDEX: (1, 2**16 - 1), END: (0, 0)}.get(kind, (1, header.packet_frames))
    if not least <= n_frames <= most:
        raise FormatError(f"{n_frames} frames or entries, not in {least}..{most}", offset + 4)
    if kind == CODED and header.channels * n_frames > MAX_CODED_CODES:
        raise FormatError(f"a coded packet of over {MAX_CODED_CODES} codes a codebook", offset + 4)
    return Head(kind, n_codebooks, n_frames, first_frame)


def parse_packet(header: Header, block: RawBlock) -> PacketBlock:
    """The packet in ``block``, whose CRC was checked; its codes are not."""
    full = raw_bytes(header, block.head.n_frames)
    position = block.body_start
    segments = []
    for k in range(block.head.n_codebooks):
        end = position + full - block.savings.get(k, 0)
        segments.append(Segment(block.data[position:end], k in block.savings))
        position = end
    body_offset = block.offset + block.body_start
    return PacketBlock(block.head.first_frame, block.head.n_frames, segments, block.offset, body_offset)


def parse_index(block: RawBlock) -> list[Entry]:
    """The entries of the index in ``block``.

    Raises:
        FormatError: if they do not ascend or point beyond the index.
    """
    entries = []
    previous = Entry(-1, -1)
    behind = Entry(block.head.first_frame, block.offset)
    for i, entry in enumerate(ENTRY.iter_unpack(block.data[block.body_start : -CRC_BYTES])):
        if not (previous[0] < entry[0] < behind[0] and previous[1] < entry[1] < behind[1]):
            raise FormatError(
                f"entry {i} of the index does not ascend", block.offset + HEAD.size + i * ENTRY.size
            )
        previous = Entry(*entry)
        entries.append(previous)
    return entries


def parse_end(block: RawBlock) -> End:
    """The numbers of the end mark in ``block``."""
    end = End(*END_BODY.unpack_from(block.data, block.body_start))
    if end.n_samples > MAX_SAMPLES:
        raise FormatError(f"{end.n_samples} samples, over 2^53-1", block.offset + HEAD.size)
    return end


def _body_length(header: Header, head: Head, savings: dict[int, int]) -> int:
    """Bytes between the head or table and the CRC; bounded, since ``header`` and ``head`` are."""
    if head.kind == END:
        return END_BODY.size
    if head.kind == INDEX:
        return head.n_frames * ENTRY.size
    return head.n_codebooks * raw_bytes(header, head.n_frames) - sum(savings.values())
