"""Codes to packets in segments and back: several packets of equal length at once, which is faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dacodec.container import compiled, entropy
from dacodec.container.bits import has_clear_padding, pack, unpack
from dacodec.container.blocks import PacketBlock, Segment
from dacodec.container.format import MAX_CODED_CODES, code_bits
from dacodec.container.header import Header
from dacodec.container.prior import Prior
from dacodec.container.table import table_to_bytes
from dacodec.errors import FormatError, PriorError

MAX_TOGETHER = 64  # packets; more would hardly be faster

coder = compiled if compiled.is_built() else entropy


@dataclass(frozen=True, eq=False)
class Packet:
    """The codes of consecutive frames.

    Args:
        first_frame: number of frames before this packet in the file.
        codes: uint16 [C, K, f], f at least 1.
        is_lost: the true codes were damaged, and these stand in for them.
    """

    first_frame: int
    codes: NDArray[np.uint16]
    is_lost: bool = False

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[2])


def packets_together(header: Header) -> int:
    """How many packets to code at once, so that codes and trees take a few dozen megabytes at most."""
    codes_a_packet = header.channels * header.n_codebooks * header.packet_frames
    nodes_a_packet = header.n_codebooks << code_bits(header.codebook_size)
    return max(1, min(MAX_TOGETHER, 2**18 // codes_a_packet, 2**22 // nodes_a_packet))


def encode_packets(header: Header, packets: Sequence[Packet], prior: Prior | None) -> Iterator[PacketBlock]:
    """Packets in segments, each raw or coded, whichever is smaller; all packets must be equally long."""
    width = code_bits(header.codebook_size)
    codes = np.stack([packet.codes for packet in packets])  # [P, C, K, f]
    raw = [[pack(codes[p, :, k], width) for k in range(codes.shape[2])] for p in range(len(packets))]
    coded: list[list[bytes]] = []
    if prior is not None and header.channels * packets[0].n_frames <= MAX_CODED_CODES:
        lanes = _symbols(codes[:, :, : prior.n_codebooks])
        coded = coder.encode_segments(prior, lanes, header.channels)  # [K][P]
    for p, packet in enumerate(packets):
        segments = chosen(raw[p], [lane[p] for lane in coded])
        yield PacketBlock(packet.first_frame, packet.n_frames, segments)


def chosen(raw: Sequence[bytes], coded: Sequence[bytes]) -> list[Segment]:
    """Each segment in the form, raw or coded, that makes the packet up to it smaller.

    A choice depends on lower segments only, so that peeling gives the same bytes as encoding fewer codebooks.

    Args:
        raw: all segments of a packet.
        coded: the lowest of them, coded.
    """
    savings: dict[int, int] = {}
    for k, data in enumerate(coded):
        more = {**savings, k: max(0, len(raw[k]) - len(data))}
        if more[k] > len(table_to_bytes(more)) - len(table_to_bytes(savings)):
            savings = more
    return [Segment(coded[k], True) if k in savings else Segment(raw[k], False) for k in range(len(raw))]


def decode_packets(header: Header, blocks: Sequence[PacketBlock], prior: Prior | None) -> Iterator[Packet]:
    """The packets of ``blocks``, in order.

    Raises:
        FormatError: for padding bits that are set and codes out of range, with the segment's offset.
        PriorError: for a coded segment, where ``prior`` is None.
    """
    for _, group in groupby(blocks, lambda block: (block.n_frames, len(block.segments))):
        same_shape = list(group)
        yield from _decode_alike(header, same_shape, prior)


def _decode_alike(header: Header, blocks: list[PacketBlock], prior: Prior | None) -> Iterator[Packet]:
    codes = np.stack([_unpacked(header, block) for block in blocks])  # [P, C, K, f]
    # The coded segments, and the ones below them, which are their context.
    n_coded = max((k + 1 for b in blocks for k, s in enumerate(b.segments) if s.is_coded), default=0)
    if n_coded:
        width = code_bits(header.codebook_size)
        if prior is None or prior.width != width or n_coded > prior.n_codebooks:
            raise PriorError(
                f"the codes of {header.model_name!r} are entropy-coded with a prior "
                f"({(header.prior_id or b'').hex()[:16]}) that is not here: get it from where the model is, "
                "codes.prior beside the weights"
            )
        lanes = _symbols(codes[:, :, :n_coded])  # [K, P, N]
        segments = [
            [b.segments[k].data if b.segments[k].is_coded else None for b in blocks] for k in range(n_coded)
        ]
        coder.decode_segments(prior, segments, lanes, header.channels)
        shape = (n_coded, len(blocks), -1, header.channels)
        codes[:, :, :n_coded] = lanes.reshape(shape).transpose(1, 3, 0, 2)
    for block, packet_codes in zip(blocks, codes, strict=True):
        _check_codes(header, block, packet_codes)
        yield Packet(block.first_frame, packet_codes)


def _symbols(codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Codes [P, C, K, f] as [K, P, f * C]: frame by frame, channel by channel within a frame."""
    n_packets, channels, n_codebooks, n_frames = codes.shape
    return codes.transpose(2, 0, 3, 1).reshape(n_codebooks, n_packets, n_frames * channels)


def _unpacked(header: Header, block: PacketBlock) -> NDArray[np.uint16]:
    """Codes [C, K, f] of the raw segments; 0 for the coded ones."""
    width = code_bits(header.codebook_size)
    n_codes = header.channels * block.n_frames
    codes = np.zeros((header.channels, len(block.segments), block.n_frames), np.uint16)
    for k, (data, is_coded) in enumerate(block.segments):
        if not is_coded:
            codes[:, k] = unpack(data, width, n_codes).reshape(header.channels, block.n_frames)
    return codes


def _check_codes(header: Header, block: PacketBlock, codes: NDArray[np.uint16]) -> None:
    width = code_bits(header.codebook_size)
    n_codes = header.channels * block.n_frames
    for k, (data, is_coded) in enumerate(block.segments):
        start = block.offset_of(k)
        if is_coded and data.endswith(b"\0"):
            raise FormatError(f"codebook {k}'s segment ends with a zero", start + len(data) - 1)
        if not is_coded and not has_clear_padding(data, width, n_codes):
            raise FormatError(f"padding bits of codebook {k} are set", start + len(data) - 1)
        if (highest := codes[:, k].max()) >= header.codebook_size:
            raise FormatError(f"code {highest} in codebook {k}, whose size is {header.codebook_size}", start)
