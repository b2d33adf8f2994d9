"""Ogg: pages, and the links of a chain, each of which is a recording of its own.

Internet radio starts a new link at every title. FFmpeg and libsndfile read only one, so links are separated
here as they are read, and damage is detected by the pages' checksums and numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from dacodec.audio.ffmpeg import FfmpegDecoder
from dacodec.audio.findings import Findings, RatedBlock
from dacodec.audio.source import Source
from dacodec.audio.trimming import Trimmer
from dacodec.errors import AudioError

_READ = 1 << 16
_HEADER = 27  # bytes, before the table of segments
_FIRST, _LAST = 2, 4  # flags: a stream begins, or ends, with this page
_HELD = 1 << 14  # samples at the end that may be padding: as many as some packets hold
_OPUS_RATES = (8000, 12000, 16000, 24000)  # rates at which Opus can be decoded, besides its own 48000

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    data: bytes
    flags: int
    granule: int
    serial: int
    number: int

    @property
    def body(self) -> bytes:
        return self.data[_HEADER + self.data[26] :]


def checksum(page: bytes) -> int:
    """Ogg's CRC-32: zlib's with all bits reversed."""
    reflected = (
        zlib.crc32((page[:22] + b"\0\0\0\0" + page[26:]).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    )
    return int(f"{reflected:032b}"[::-1], 2)


class _Pages:
    """The complete pages of ``source``, in order; notes what is missing between them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data, self._at, self._ended = b"", 0, False
        self._numbers: dict[int, int] = {}  # last page of each stream
        self.damage = ""  # what was found, until it is fetched
        self.is_cut = False  # within the last page

    def __iter__(self) -> Iterator[Page]:
        while self._have(1):
            page = self._page()
            if page is not None:
                expected = self._numbers.get(page.serial)
                if expected is not None and page.number != expected + 1 and not page.flags & _FIRST:
                    self.damage = self.damage or "pages are missing"
                self._numbers[page.serial] = page.number
                self._at += len(page.data)
                yield page
            elif not self._resynchronise():
                return

    def _page(self) -> Page | None:
        """The page that begins here, if there is an undamaged one."""
        if not self._have(_HEADER) or not self._data.startswith(b"OggS", self._at):
            return None
        n_segments = self._data[self._at + 26]
        whole = self._have(_HEADER + n_segments)
        size = _HEADER + n_segments + sum(self._data[self._at + _HEADER : self._at + _HEADER + n_segments])
        if not whole or not self._have(size):
            self.is_cut = True
            return None
        page = self._data[self._at : self._at + size]
        flags, granule, serial, number, crc = struct.unpack_from("<BqIII", page, 5)
        if checksum(page) != crc:
            self.damage = self.damage or "the checksum of a page is wrong"
            return None
        return Page(page, flags, granule, serial, number)

    def _resynchronise(self) -> bool:
        """Move to the next page, if there is one."""
        while (at := self._data.find(b"OggS", self._at + 1)) < 0:
            self._at = max(self._at, len(self._data) - 4)  # the pattern may straddle reads
            if not self._have(5):
                return False
        self._at, self.is_cut = at, False
        self.damage = self.damage or "there is something else between its pages"
        return True

    def _have(self, n: int) -> bool:
        """Read ahead to ``n`` more bytes; whether there are as many."""
        while len(self._data) - self._at < n and not self._ended:
            more = self._source.read(_READ)
            self._ended = not more
            self._data, self._at = self._data[self._at :] + more, 0
        return len(self._data) - self._at >= n


class _Link:
    """The pages of one link, as a forward-only file."""

    def __init__(self, first: Page, pages: Iterator[Page]) -> None:
        self._page: Page | None = first
        self._pages = pages
        self._serial = first.serial
        self._begun = False  # a page other than a stream's first has come
        self._rest = b""
        self.next: Page | None = None  # the first page of the next link
        self.tells_end = first.body.startswith((b"OpusHead", b"\x01vorbis"))
        # Samples that the encoder added at the start, which FFmpeg removes.
        self.delay = struct.unpack_from("<H", first.body, 10)[0] if first.body[:8] == b"OpusHead" else 0
        self._granule = 0  # of the last page: the number of samples up to its end

    def read(self, n: int) -> bytes:
        if not self._rest and self._page is not None:
            # The padding at the end is computed here: FFmpeg removes too much from Vorbis.
            self._rest = _without_end(self._page) if self.tells_end else self._page.data
            self._advance()
        data, self._rest = self._rest[:n], self._rest[n:]
        return data

    def _advance(self) -> None:
        assert self._page is not None
        self._begun = self._begun or not self._page.flags & _FIRST
        if self._page.serial == self._serial and self._page.granule > 0:
            self._granule = self._page.granule
        self._page = next(self._pages, None)
        if self._page is not None and self._begun and self._page.flags & _FIRST:
            self.next, self._page = self._page, None

    def pass_over(self) -> None:
        """Skip what was not read."""
        while self._page is not None:
            self._advance()

    def surplus(self, n_samples: int) -> int:
        """How many of ``n_samples`` are padding by its last page; negative, how many are missing, or were never there
        because the recording began in the middle of another."""
        surplus = n_samples - (self._granule - self.delay)
        return surplus if self.tells_end and self._granule and surplus <= _HELD else 0

    def seekable(self) -> bool:
        return False


class OggDecoder:
    """Decodes all links of an Ogg file in turn."""

    n_samples: int | None = None
    is_finite = False

    def __init__(self, source: Source, findings: Findings, track: int | None = None) -> None:
        self._findings, self._track = findings, track
        self._pages = _Pages(source)
        self._iterator = iter(self._pages)
        first = next(self._iterator, None)
        if first is None:
            raise AudioError("it is damaged: it has no whole page")
        self._link = _Link(first, self._iterator)
        self._decoder = FfmpegDecoder(self._link, "ogg", findings, track)
        self._kind = (self._decoder.sampling_rate, self._decoder.channels)
        self.sampling_rate = _opus_rate(first.body) or self._decoder.sampling_rate
        self.channels = self._decoder.channels

    def blocks(self) -> Iterator[RatedBlock]:
        decoder: FfmpegDecoder | None = self._decoder
        position = 0.0
        while decoder is not None:
            trimmer = Trimmer(0, _HELD if self._link.tells_end else 0)
            damage, damaged_at = "", 0.0
            for rate, samples in decoder.blocks():
                yield from trimmer.push((rate, samples))
                if not damage and self._pages.damage:
                    damage, damaged_at = self._damage(), position + trimmer.n_samples / rate
            decoder.close()
            self._link.pass_over()
            surplus = self._link.surplus(trimmer.n_samples)
            yield from trimmer.rest(max(0, surplus))
            position += (trimmer.n_samples - max(0, surplus)) / decoder.sampling_rate
            if damage or self._pages.damage:
                what, seconds = (damage, damaged_at) if damage else (self._damage(), position)
                self._findings.damaged(what, seconds, -surplus if surplus < 0 else None)
            decoder = self._next(position)
        if self._pages.is_cut:
            self._findings.warn("it was cut off within its last page; the complete pages are read")

    def _damage(self) -> str:
        what, self._pages.damage = f"it is damaged: {self._pages.damage}", ""
        if not self._findings.keeps:
            self._findings.damaged(what, 0)
        return what

    def _next(self, position: float) -> FfmpegDecoder | None:
        """The decoder of the next link that has audio."""
        while self._link.next is not None:
            self._link = _Link(self._link.next, self._iterator)
            try:
                decoder = FfmpegDecoder(self._link, "ogg", self._findings, self._track)
            except AudioError as error:
                self._findings.damaged(f"a link of its chain cannot be read: {error}", position)
                self._link.pass_over()
                continue
            kind = (decoder.sampling_rate, decoder.channels)
            if kind != self._kind:
                self._findings.warn(
                    f"it changes from {self._kind[0]} Hz and {self._kind[1]} channel(s) to {kind[0]} Hz and "
                    f"{kind[1]} at {position:.2f} s; everything is converted to how it begins"
                )
                self._kind = kind
            self._decoder = decoder
            return decoder
        return None

    def close(self) -> None:
        self._decoder.close()


def _without_end(page: Page) -> bytes:
    """The page without its end-of-stream flag."""
    if not page.flags & _LAST:
        return page.data
    data = page.data[:5] + bytes([page.flags & ~_LAST]) + page.data[6:]
    return data[:22] + struct.pack("<I", checksum(data)) + data[26:]


def _opus_rate(head: bytes) -> int | None:
    """The rate at which to decode Opus: the lowest it supports that covers the original's."""
    if head[:8] != b"OpusHead" or len(head) < 16:
        return None
    made_from = struct.unpack_from("<I", head, 12)[0]
    return next((rate for rate in _OPUS_RATES if 0 < made_from <= rate), 48000)
