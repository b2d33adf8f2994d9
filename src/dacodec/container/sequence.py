"""The packets of a file in order, segments undecoded: strictly, or skipping damage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, cast

from dacodec.container.blocks import (
    HEAD,
    Entry,
    PacketBlock,
    RawBlock,
    check_crc,
    parse_end,
    parse_index,
    parse_packet,
    take_block,
)
from dacodec.container.format import END, INDEX, MAX_FRAMES, SYNC
from dacodec.container.header import Header, frames_of, max_samples, samples_of
from dacodec.container.index import IndexBuilder, read_index
from dacodec.container.read_header import read_header
from dacodec.container.stream import Readable, Source
from dacodec.errors import FormatError

MAX_GAP_FRAMES = 2**16


@dataclass(frozen=True)
class Damage:
    """A place in a file that breaks the format, and what was lost there.

    Args:
        offset: byte where it was noticed.
        reason: what is wrong there.
        first_frame: first lost frame; if ``n_frames`` is 0, the frame that follows.
        n_frames: number of lost frames.
    """

    offset: int
    reason: str
    first_frame: int
    n_frames: int

    def described(self, header: Header) -> str:
        """Where in the file, where in time, why: one line."""
        second = header.hop_length / header.model_sampling_rate
        lost = f"{self.n_frames * second:.3f} s lost at {self.first_frame * second:.3f} s"
        return f"byte {self.offset}: {lost if self.n_frames else 'nothing lost'}: {self.reason}"


class PacketSequence:
    """Reads the header at once and then, as an iterator, packets up to the end mark.

    Args:
        file: open for binary, blocking reading; left open. Only :meth:`seek` seeks in it.
        header: from elsewhere, if the file's is damaged (with ``conceal``), or blocks come without one.
        conceal: skip what breaks the format and record it in ``damages`` instead of raising.

    Raises:
        FormatError: here and on iteration, with the byte offset, for anything that breaks the format. With
            ``conceal`` only for a damaged header.
    """

    def __init__(self, file: Readable, *, header: Header | None = None, conceal: bool = False) -> None:
        self._file = file
        self._start = _position(file)
        self._source = Source(file)
        self.header = read_header(self._source) if header is None else header
        self._first_block = self._source.offset
        self.conceal = conceal
        self.damages: list[Damage] = []
        self.n_frames = 0  # read or skipped so far
        self.has_index = False
        self._index = IndexBuilder(self.header)
        self._index_length = 0
        self._knows_all = True  # from the first packet on
        self._end_samples: int | None = None
        self._is_over = False

    @property
    def n_samples(self) -> int | None:
        """Samples per channel at ``header.sampling_rate``; None until the header or the end mark says.

        For a truncated recording read to its end with ``conceal``, the samples that its frames stand for.
        """
        if self._end_samples is not None:
            return self._end_samples
        if self._is_over and self.conceal:
            present = samples_of(self.header, self.n_frames)
            return present if self.header.n_samples is None else min(present, self.header.n_samples)
        return self.header.n_samples

    def __iter__(self) -> PacketSequence:
        return self

    def __next__(self) -> PacketBlock:
        packet = None
        if not self._is_over:
            packet = self._next_sound() if self.conceal else self._next_strict()
        if packet is None:
            raise StopIteration
        return packet

    # Strictly

    def _next_strict(self) -> PacketBlock | None:
        block = take_block(self.header, self._source, "a packet or the end mark")
        self._check_order(block)
        check_crc(block)
        if block.head.kind == INDEX:
            self._check_index(block)
            block = take_block(self.header, self._source, "the end mark")
            if block.head.kind != END:
                raise FormatError("something but the end mark follows the index", block.offset + 2)
            self._check_order(block)
            check_crc(block)
        if block.head.kind == END:
            self._finish(block)
            return None
        return self._accepted(block)

    def _check_order(self, block: RawBlock) -> None:
        head, offset = block.head, block.offset
        if head.n_codebooks not in (0, self.header.n_codebooks):
            raise FormatError(
                f"{head.n_codebooks} codebooks in a file of {self.header.n_codebooks}", offset + 3
            )
        if head.first_frame != self.n_frames:
            raise FormatError(f"frame {self.n_frames} should follow, not {head.first_frame}", offset + 6)
        if head.kind != INDEX and self.n_frames + head.n_frames > MAX_FRAMES:
            raise FormatError(f"more than {MAX_FRAMES} frames", offset + 4)

    def _check_index(self, block: RawBlock) -> None:
        entries = parse_index(block)
        if self._knows_all and entries != self._index.entries:
            raise FormatError("the index does not say where the packets are", block.offset + HEAD.size)
        self.has_index = True
        self._index_length = len(block.data)

    def _finish(self, block: RawBlock) -> None:
        end = parse_end(block)
        self._check_samples(end.n_samples, block)
        if end.index_length != self._index_length:
            raise FormatError(
                f"the end mark speaks of an index of {end.index_length} bytes, not {self._index_length}",
                block.offset + HEAD.size + 8,
            )
        offset = self._source.offset
        if self._source.take_up_to(1):
            raise FormatError("something follows the end mark", offset)
        self._end_samples = end.n_samples
        self._is_over = True

    def _check_samples(self, n_samples: int, block: RawBlock) -> None:
        known = self.header.n_samples
        if known is not None and n_samples != known:
            raise FormatError(f"{n_samples} samples, but the header says {known}", block.offset + HEAD.size)
        n_frames = block.head.first_frame
        if n_samples > max_samples(self.header, n_frames):
            raise FormatError(
                f"{n_samples} samples, but {n_frames} frames stand for at most "
                f"{max_samples(self.header, n_frames)}",
                block.offset + HEAD.size,
            )

    def _accepted(self, block: RawBlock) -> PacketBlock:
        self._index.add(block.head.first_frame, block.offset)
        self.n_frames = block.head.first_frame + block.head.n_frames
        return parse_packet(self.header, block)

    # Skipping damage (docs/format.md, "Damage")

    def _next_sound(self) -> PacketBlock | None:
        """The next undamaged packet; None at the end."""
        reason, offset = "", self._source.offset
        while True:
            self._source.hold()
            try:
                block = take_block(self.header, self._source, "a packet or the end mark")
                check_crc(block)
                self._check_believable(block, offset)
            except FormatError as error:
                reason = reason or str(error)
                self._source.give_back(skip=1)
                if not self._source.find(SYNC):
                    self._note_cut(offset, reason)
                    return None
                continue
            self.has_index |= block.head.kind == INDEX
            if block.head.kind == INDEX or block.head.first_frame < self.n_frames:
                offset = offset if reason else self._source.offset
                continue
            self._note_gap(block, offset, reason)
            if block.head.kind == END:
                self._end_samples = parse_end(block).n_samples
                self.n_frames = block.head.first_frame
                self._is_over = True
                return None
            return self._accepted(block)

    def _check_believable(self, block: RawBlock, offset: int) -> None:
        """FormatError for an undamaged block that cannot belong here; damage began at ``offset``."""
        head, known = block.head, self.header.n_samples
        if head.n_codebooks and head.n_codebooks != self.header.n_codebooks:
            raise FormatError("a packet of another file", block.offset)
        if head.first_frame + head.n_frames > MAX_FRAMES and head.kind != INDEX:
            raise FormatError("a packet behind all frames", block.offset)
        if head.kind == END:
            self._check_samples(parse_end(block).n_samples, block)
        gap, passed_over = head.first_frame - self.n_frames, block.offset - offset
        if known is None and gap > max(MAX_GAP_FRAMES, passed_over):
            raise FormatError(f"a packet {gap} frames away", block.offset)
        if known is not None and gap > 0 and head.first_frame > frames_of(self.header, known) + 1:
            raise FormatError("a packet behind the last sample", block.offset)

    def _note_gap(self, block: RawBlock, offset: int, reason: str) -> None:
        gap = block.head.first_frame - self.n_frames
        if gap or reason:
            reason = reason or "packets are missing"
            self.damages.append(Damage(offset, reason, self.n_frames, gap))
            self._knows_all = False

    def _note_cut(self, offset: int, reason: str) -> None:
        known = self.header.n_samples
        missing = 0 if known is None else max(0, frames_of(self.header, known) - self.n_frames)
        self.damages.append(Damage(offset, reason, self.n_frames, missing))
        self._is_over = True

    # Seeking

    @property
    def is_seekable(self) -> bool:
        return _is_seekable(self._file)

    def seek(self, frame: int) -> None:
        """Continue with the packet that has ``frame``, or a little earlier if that packet is damaged.

        Uses the index if there is one, else goes from head to head. ``file`` must be seekable.
        """
        self._is_over, self._knows_all = False, False
        before = [entry for entry in self._entries() if entry.first_frame <= frame]
        nearest = before[-1] if before else Entry(0, self._first_block)
        self._go_to(nearest.offset, nearest.first_frame)
        offset = self._source.offset
        while not self._reaches(frame):
            offset = self._source.offset
        self._go_to(offset, self.n_frames)

    def _entries(self) -> list[Entry]:
        try:
            return read_index(cast(BinaryIO, self._file), self._start, self.header)
        except FormatError:
            if self.conceal:
                return []
            raise

    def _go_to(self, offset: int, first_frame: int) -> None:
        cast(BinaryIO, self._file).seek(self._start + offset)
        self._source = Source(self._file, offset)
        self.n_frames = first_frame

    def _reaches(self, frame: int) -> bool:
        """Take a block; whether ``frame`` is in it, or the search cannot go beyond it."""
        try:
            block = take_block(self.header, self._source, "a packet or the end mark")
            self._check_order(block)
        except FormatError:
            if self.conceal:
                return True
            raise
        if block.head.kind in (INDEX, END) or frame < self.n_frames + block.head.n_frames:
            return True
        self.n_frames += block.head.n_frames
        return False


def _position(file: Readable) -> int:
    """The position in a seekable file; 0 for others, which are never sought in."""
    return cast(BinaryIO, file).tell() if _is_seekable(file) else 0


def _is_seekable(file: Readable) -> bool:
    seekable = getattr(file, "seekable", None)
    return seekable is not None and seekable()
