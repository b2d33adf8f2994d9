"""A block of the file, packet or end mark, to bytes and back. Nothing here knows of files or of order."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dacodec.container.bits import has_clear_padding, pack, unpack
from dacodec.container.format import END, PACKET, SYNC, code_bits, crc16, seal_holds, sealed, segment_bytes
from dacodec.container.header import Header
from dacodec.errors import FormatError

HEAD = struct.Struct("<2sBBHIH")  # sync, kind, n_codebooks, n_frames, first_frame, head_crc
HEAD_CRC = struct.Struct("<H")
N_SAMPLES = struct.Struct("<Q")  # body of an end mark


@dataclass(frozen=True, eq=False)
class Packet:
    """Codes of a stretch of frames.

    Args:
        first_frame: frames of the file before this packet.
        codes: uint16 [C, K, f], f at least 1.
    """

    first_frame: int
    codes: NDArray[np.uint16]

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[2])


@dataclass(frozen=True)
class Head:
    """The first 12 bytes of a block."""

    kind: int
    n_codebooks: int
    n_frames: int
    first_frame: int

    def to_bytes(self) -> bytes:
        data = HEAD.pack(SYNC, self.kind, self.n_codebooks, self.n_frames, self.first_frame, 0)
        data = data[: -HEAD_CRC.size]
        return data + HEAD_CRC.pack(crc16(data))


def packet_to_bytes(header: Header, packet: Packet) -> bytes:
    """The packet as it stands in a file; its codes must be in bounds."""
    n_codebooks = packet.codes.shape[1]
    head = Head(PACKET, n_codebooks, packet.n_frames, packet.first_frame)
    width = code_bits(header.codebook_size)
    segments = (pack(packet.codes[:, k], width) for k in range(n_codebooks))
    return sealed(head.to_bytes() + b"".join(segments))


def end_to_bytes(n_frames: int, n_samples: int) -> bytes:
    """The end mark of a file of ``n_frames`` frames and ``n_samples`` samples per channel."""
    return sealed(Head(END, 0, 0, n_frames).to_bytes() + N_SAMPLES.pack(n_samples))


def parse_head(header: Header, data: bytes, offset: int) -> Head:
    """The head in the 12 bytes ``data``, which stand at ``offset`` of the file, checked against ``header``.

    Raises:
        FormatError: with the offset of what is wrong.
    """
    sync, kind, n_codebooks, n_frames, first_frame, crc = HEAD.unpack(data)
    if sync != SYNC:
        raise FormatError("a packet or the end mark should start here", offset)
    if crc16(data[: -HEAD_CRC.size]) != crc:
        raise FormatError("the head of a packet is damaged: its CRC does not match", offset)
    if kind not in (PACKET, END):
        raise FormatError(f"unknown kind of block {kind:#04x}; a newer reader may know it", offset + 2)
    least = 0 if kind == END else 1
    most = 0 if kind == END else header.n_codebooks
    if not least <= n_codebooks <= most:
        raise FormatError(f"{n_codebooks} codebooks, not in {least}..{most}", offset + 3)
    most = 0 if kind == END else header.packet_frames
    if not least <= n_frames <= most:
        raise FormatError(f"{n_frames} frames, not in {least}..{most}", offset + 4)
    return Head(kind, n_codebooks, n_frames, first_frame)


def body_length(header: Header, head: Head) -> int:
    """Bytes between head and CRC; bounded, since ``header`` and ``head`` are."""
    if head.kind == END:
        return N_SAMPLES.size
    n_codes = header.channels * head.n_frames
    return head.n_codebooks * segment_bytes(n_codes, code_bits(header.codebook_size))


def check_crc(block: bytes, offset: int) -> None:
    """Check the CRC that ends ``block``, which stands at ``offset`` of the file."""
    if not seal_holds(block):
        raise FormatError("a packet is damaged: its CRC does not match", offset)


def parse_packet(header: Header, head: Head, block: bytes, offset: int) -> Packet:
    """The packet in ``block``, which stands at ``offset`` of the file and whose CRC was checked.

    Raises:
        FormatError: for bits that must be zero and codes that no codebook has, with the segment's offset.
    """
    shape = (header.channels, head.n_frames)
    n_codes = header.channels * head.n_frames
    width = code_bits(header.codebook_size)
    length = segment_bytes(n_codes, width)
    codes = np.empty((header.channels, head.n_codebooks, head.n_frames), np.uint16)
    for k in range(head.n_codebooks):
        start = HEAD.size + k * length
        segment = block[start : start + length]
        if not has_clear_padding(segment, width, n_codes):
            raise FormatError(f"padding bits of codebook {k} are set", offset + start + length - 1)
        codes[:, k] = unpack(segment, width, n_codes).reshape(shape)
        if (highest := codes[:, k].max()) >= header.codebook_size:
            raise FormatError(
                f"code {highest} in codebook {k}, whose size is {header.codebook_size}", offset + start
            )
    return Packet(head.first_frame, codes)


def parse_end(block: bytes) -> int:
    """n_samples of the end mark in ``block``."""
    (n_samples,) = N_SAMPLES.unpack_from(block, HEAD.size)
    return int(n_samples)
