"""A ``.dacz`` stream to packets, strictly: the first thing that breaks the format raises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dacodec.container.format import CRC_BYTES, END, MAX_FRAMES
from dacodec.container.header import max_samples, read_header
from dacodec.container.packet import (
    HEAD,
    Head,
    Packet,
    body_length,
    check_crc,
    parse_end,
    parse_head,
    parse_packet,
)
from dacodec.container.stream import Readable, Source
from dacodec.errors import FormatError


class Reader:
    """Reads a header at once and then, as an iterator, packets up to the end mark.

    A packet is given out as soon as its last byte is there: the reader never asks for more than the block at
    hand needs, so a live pipe will do. Memory is bounded by a packet (docs/format.md, "Bounds").

    Args:
        file: open for binary, blocking reading; never sought in, and left open.

    Raises:
        FormatError: here and on iteration, with the byte offset, for anything that breaks the format. A file
            that ends without its end mark raises after its last whole packet.
    """

    def __init__(self, file: Readable) -> None:
        self._source = Source(file)
        self.header = read_header(self._source)
        self._n_frames = 0
        self._end_samples: int | None = None

    @property
    def n_frames(self) -> int:
        """Frames read so far."""
        return self._n_frames

    @property
    def n_samples(self) -> int | None:
        """Samples per channel at ``header.sampling_rate``; None while neither header nor end mark told."""
        return self.header.n_samples if self._end_samples is None else self._end_samples

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        if self._end_samples is not None:
            raise StopIteration
        offset = self._source.offset
        start = self._source.take(HEAD.size, "a packet or the end mark")
        head = parse_head(self.header, start, offset)
        self._check_order(head, offset)
        block = start + self._source.take(body_length(self.header, head) + CRC_BYTES, "a packet")
        check_crc(block, offset)
        if head.kind == END:
            self._finish(parse_end(block), offset)
            raise StopIteration
        packet = parse_packet(self.header, head, block, offset)
        self._n_frames += packet.n_frames
        return packet

    def read_codes(self) -> NDArray[np.uint16]:
        """The codes of all packets left, uint16 [C, K, F]."""
        nothing = np.empty((self.header.channels, self.header.n_codebooks, 0), np.uint16)
        return np.concatenate([nothing, *(packet.codes for packet in self)], axis=2)

    def _check_order(self, head: Head, offset: int) -> None:
        if head.kind != END and head.n_codebooks != self.header.n_codebooks:
            raise FormatError(
                f"{head.n_codebooks} codebooks in a file of {self.header.n_codebooks}", offset + 3
            )
        if head.first_frame != self._n_frames:
            raise FormatError(f"frame {self._n_frames} should follow, not {head.first_frame}", offset + 6)
        if self._n_frames + head.n_frames > MAX_FRAMES:
            raise FormatError(f"more than {MAX_FRAMES} frames", offset + 4)

    def _finish(self, n_samples: int, offset: int) -> None:
        known = self.header.n_samples
        if known is not None and n_samples != known:
            raise FormatError(f"{n_samples} samples, but the header says {known}", offset + HEAD.size)
        most = max_samples(self.header, self._n_frames)
        if n_samples > most:
            raise FormatError(
                f"{n_samples} samples, but {self._n_frames} frames stand for at most {most}",
                offset + HEAD.size,
            )
        end = self._source.offset
        if self._source.take_up_to(1):
            raise FormatError("something follows the end mark", end)
        self._end_samples = n_samples
