"""The datagram profile: single packets that can be decoded with the header alone, whatever else was lost."""

from __future__ import annotations

import io

from dacodec.container.blocks import check_crc, packet_to_bytes, parse_packet, take_block
from dacodec.container.format import CODED, RAW
from dacodec.container.header import Header
from dacodec.container.packet import Packet, decode_packets, encode_packets
from dacodec.container.prior import Prior
from dacodec.container.reader import prior_of_file
from dacodec.container.stream import Source
from dacodec.errors import FormatError


def to_datagram(header: Header, packet: Packet, prior: Prior | None = None) -> bytes:
    """The bytes of a packet of at most ``header.packet_frames`` frames and ``header.n_codebooks`` codebooks.

    Args:
        prior: the one the header names; by default one that comes with the package.
    """
    (block,) = encode_packets(header, [packet], prior_of_file(header, prior))
    return packet_to_bytes(header, block)


def from_datagram(header: Header, data: bytes, prior: Prior | None = None) -> Packet:
    """The packet in a datagram.

    Raises:
        FormatError: for anything but one whole packet.
        PriorError: if it is entropy-coded and the prior is not available.
    """
    source = Source(io.BytesIO(data))
    block = take_block(header, source, "a packet")
    check_crc(block)
    if block.head.kind not in (RAW, CODED):
        raise FormatError("a datagram without a packet", 2)
    if source.offset != len(data):
        raise FormatError("something follows the packet", source.offset)
    (packet,) = decode_packets(header, [parse_packet(header, block)], prior_of_file(header, prior))
    return packet
