"""A ``.dacz`` stream to codes: strictly or skipping damage, and from any frame if the file is seekable."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from dacodec.container.blocks import PacketBlock
from dacodec.container.header import Header
from dacodec.container.packet import MAX_TOGETHER, Packet, decode_packets, packets_together
from dacodec.container.prior import Prior, prior_with_id
from dacodec.container.sequence import Damage, PacketSequence
from dacodec.container.stream import Readable
from dacodec.errors import FormatError


class Reader:
    """Reads the header at once and then, as an iterator, packets up to the end mark.

    With ``packets_ahead`` 1, a packet is given out as soon as its last byte arrives: the reader never reads
    beyond the current block, so a live pipe works. Memory is bounded by the packets in flight
    (docs/format.md, "Bounds").

    Args:
        file: open for binary, blocking reading; left open. Only :meth:`packets` seeks in it.
        prior: of the model; by default one that comes with the package.
        header: from elsewhere, if the file's is damaged (with ``conceal``).
        conceal: skip what breaks the format instead of raising. Lost frames come as packets with ``is_lost``,
            whose codes repeat the frame before, so that timing is kept; ``damages`` lists what happened.
        packets_ahead: decoded together, up to 64; without the compiled coder, many at once are twenty times
            as fast as one by one.

    Raises:
        FormatError: here and on iteration, with the byte offset, for anything that breaks the format. A file
            that ends without its end mark raises after its last whole packet. With ``conceal`` only for a
            damaged header.
        PriorError: on iteration, if packets are entropy-coded and their prior is not available.
    """

    def __init__(
        self,
        file: Readable,
        *,
        prior: Prior | None = None,
        header: Header | None = None,
        conceal: bool = False,
        packets_ahead: int = 1,
    ) -> None:
        self._sequence = PacketSequence(file, header=header, conceal=conceal)
        self._prior = prior_of_file(self.header, prior)
        self._packets_ahead = packets_ahead
        self._n_frames = 0
        self._error: FormatError | None = None
        self._packets = self._all_packets()

    @property
    def header(self) -> Header:
        return self._sequence.header

    @property
    def n_frames(self) -> int:
        """Frames given out, or skipped by seeking, so far."""
        return self._n_frames

    @property
    def n_samples(self) -> int | None:
        """Samples per channel at ``header.sampling_rate``; None until the header or the end mark says.

        For a truncated recording read to its end with ``conceal``, the samples that its frames stand for.
        """
        return self._sequence.n_samples

    @property
    def has_index(self) -> bool:
        """Whether an index has been read so far."""
        return self._sequence.has_index

    @property
    def conceals(self) -> bool:
        return self._sequence.conceal

    @property
    def damages(self) -> list[Damage]:
        """What was skipped so far, with ``conceal``."""
        return self._sequence.damages

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        if self._error is not None:  # so that reading on never looks like the end
            raise self._error
        try:
            packet = next(self._packets)
        except FormatError as error:
            self._error = error
            raise
        self._n_frames += packet.n_frames
        return packet

    def packets(self, start_frame: int, stop_frame: int) -> Iterator[Packet]:
        """The frames from ``start_frame`` to ``stop_frame`` in packets, the first and last cut to size.

        In a seekable file little else is read: the index, or else the packets' heads, lead there. Frames
        beyond the end of the file are left out.
        """
        if self._sequence.is_seekable:
            self._sequence.seek(start_frame)
            self._n_frames, self._error = self._sequence.n_frames, None
            self._packets = self._all_packets()
        while self.n_frames < stop_frame and (packet := next(self, None)):
            first = packet.first_frame
            cut = slice(max(0, start_frame - first), stop_frame - first)
            if (codes := packet.codes[:, :, cut]).shape[2]:
                yield Packet(max(first, start_frame), codes, packet.is_lost)

    def read_codes(self) -> NDArray[np.uint16]:
        """The codes of all remaining packets, uint16 [C, K, F]."""
        self._packets_ahead = MAX_TOGETHER
        nothing = np.empty((self.header.channels, self.header.n_codebooks, 0), np.uint16)
        return np.concatenate([nothing, *(packet.codes for packet in self)], axis=2)

    def _all_packets(self) -> Iterator[Packet]:
        return self._concealed(self._decoded()) if self._sequence.conceal else self._decoded()

    def _decoded(self) -> Iterator[Packet]:
        """The packets that are present, in order."""
        error = None
        while error is None:
            n_together = min(self._packets_ahead, packets_together(self.header))
            blocks: list[PacketBlock] = []
            try:
                while len(blocks) < n_together:
                    blocks.append(next(self._sequence))
            except StopIteration:
                if not blocks:
                    return
            except FormatError as broken:
                error = broken
            while blocks:
                blocks = yield from self._decoded_until_bad(blocks)
        raise error

    def _decoded_until_bad(self, blocks: list[PacketBlock]) -> Generator[Packet, None, list[PacketBlock]]:
        """Packets up to one with invalid codes; returns the blocks after that one."""
        n_good = 0
        try:
            for packet in decode_packets(self.header, blocks, self._prior):
                yield packet
                n_good += 1
        except FormatError as error:
            if not self._sequence.conceal:
                raise
            bad = blocks[n_good]
            self.damages.append(Damage(error.offset or bad.offset, str(error), bad.first_frame, bad.n_frames))
            return blocks[n_good + 1 :]
        return []

    def _concealed(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """``packets``, with substitutes for missing ones."""
        nothing = np.zeros((self.header.channels, self.header.n_codebooks, 1), np.uint16)
        last = None
        for packet in packets:
            codes = packet.codes[:, :, :1] if last is None else last
            yield from self._made_up(codes, packet.first_frame)
            yield packet
            last = packet.codes[:, :, -1:]
        yield from self._made_up(nothing if last is None else last, self._sequence.n_frames)

    def _made_up(self, codes: NDArray[np.uint16], stop_frame: int) -> Iterator[Packet]:
        """Packets up to ``stop_frame`` that repeat one frame's codes [C, K, 1]."""
        while (missing := stop_frame - self._n_frames) > 0:
            n_frames = min(missing, self.header.packet_frames)
            yield Packet(self._n_frames, np.repeat(codes, n_frames, axis=2), is_lost=True)


def prior_of_file(header: Header, given: Prior | None) -> Prior | None:
    """The prior that the header names: ``given`` if it matches, or else one from the package."""
    if header.prior_id is None:
        return None
    return given if given is not None and given.id == header.prior_id else prior_with_id(header.prior_id)
