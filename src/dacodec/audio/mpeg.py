"""MPEG audio, layers 1 to 3: MP3 files as found in the wild.

A file is a sequence of frames, each with a header that gives its length, and anything may come between them:
tags, garbage, other MP3 files. So the frames are found here, one by one, and FFmpeg only decodes them. The
delay and padding in a Xing header hold until the next such header.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from dacodec.audio.ffmpeg import frame_samples
from dacodec.audio.findings import Findings, RatedBlock
from dacodec.audio.source import Source
from dacodec.audio.trimming import Trimmer
from dacodec.errors import AudioError

_READ = 1 << 16
_MOST_FRAME = 4608  # bytes
_DECODER_DELAY = 529  # samples that every decoder adds to the encoder's delay
_GATHERED = 1 << 14

_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_RESERVOIR = 10  # frames that a frame may refer back to
_RATES = (44100, 48000, 32000)
_KBPS = {  # by (MPEG 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class FrameHeader(NamedTuple):
    layer: int
    sampling_rate: int
    channels: int
    n_bytes: int
    n_samples: int
    side_bytes: int  # of layer 3, between the header and the data


def frame_header(data: bytes, at: int = 0) -> FrameHeader | None:
    """The 4-byte header at ``at``; None if there is none, or it is of free format."""
    return _header(data[at : at + 4])


_headers: dict[bytes, FrameHeader | None] = {}


def _header(head: bytes) -> FrameHeader | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    key = head[1:2] + bytes([head[2] & 0xFE, head[3] & 0xC0])  # private bit and the like do not matter
    if key not in _headers:
        _headers[key] = _parsed(head)
    return _headers[key]


def _parsed(head: bytes) -> FrameHeader | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps_index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or kbps_index in (0, 15) or rate_index == 3:
        return None
    first = version == 3
    rate = _RATES[rate_index] >> (0 if first else 1 if version == 2 else 2)
    bits = _KBPS[first, layer][kbps_index] * 1000
    mono = head[3] >> 6 == 3
    if layer == 1:
        n_bytes, n_samples = (12 * bits // rate + padding) * 4, 384
    else:
        n_samples = 1152 if first or layer == 2 else 576
        n_bytes = n_samples // 8 * bits // rate + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return FrameHeader(layer, rate, 1 if mono else 2, n_bytes, n_samples, side)


def _alike(a: FrameHeader, b: FrameHeader) -> bool:
    return (a.layer, a.sampling_rate) == (b.layer, b.sampling_rate)


def begins(data: bytes, at: int, whole: bool) -> bool:
    """Whether frames begin at ``at``: three of a kind, or as many as come before a tag or the end.

    Args:
        whole: ``data`` reaches to the end of the file.
    """
    first = header = frame_header(data, at)
    found = 0
    while first and header and _alike(first, header):
        at, found = at + header.n_bytes, found + 1
        if found == 3 or (at < len(data) and _is_tag(data, at)):
            return True
        if at >= len(data):
            return whole and (at == len(data) or found > 1)
        header = frame_header(data, at)
    return False


def find(data: bytes, start: int, whole: bool) -> int:
    """Where frames begin from ``start`` on; -1 if nowhere."""
    at = data.find(b"\xff", start)
    while at >= 0 and not begins(data, at, whole):
        at = data.find(b"\xff", at + 1)
    return at


def tag_bytes(data: bytes, at: int = 0) -> int:
    """Length of the tag (ID3, APE) that begins at ``at``; 0 if there is none."""
    if data[at : at + 3] == b"ID3" and len(data) >= at + 10 and max(data[at + 6 : at + 10]) < 0x80:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte
        return 10 + size + (10 if data[at + 5] & 0x10 else 0)
    if data[at : at + 8] == b"APETAGEX" and len(data) >= at + 24:
        size, _, flags = struct.unpack_from("<III", data, at + 12)
        return (
            32 + size if flags & 0x20000000 else 32
        )  # a header counts what follows it, a footer what precedes it
    if data[at : at + 11] == b"LYRICSBEGIN":
        end = max(data.find(b"LYRICSEND", at), data.find(b"LYRICS200", at))
        return end + 9 - at if end >= 0 else 11
    return 128 if data[at : at + 3] == b"TAG" else 0


def _is_tag(data: bytes, at: int) -> bool:
    return data.startswith(_TAGS, at)


class Frames:
    """The frames of a file, found one by one; the rest is skipped."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data, self._at, self._ended = b"", 0, False
        self.rubbish = 0  # bytes between frames that are not a tag
        self.is_cut = False  # within the last frame

    def __iter__(self) -> Iterator[tuple[FrameHeader, bytes]]:
        known: FrameHeader | None = None
        while True:
            if len(self._data) - self._at < 4 * _MOST_FRAME and not self._ended:
                self._fill()
            header = frame_header(self._data, self._at)
            end = self._at + header.n_bytes if header else 0
            if header and ((known and _alike(known, header)) or begins(self._data, self._at, self._ended)):
                if end > len(self._data):
                    self.is_cut = True
                    return
                yield header, self._data[self._at : end]
                known, self._at = header, end
            elif self._at >= len(self._data):
                return
            elif length := tag_bytes(self._data, self._at):
                self._skip(length)
            else:
                known = None
                self._find_next()

    def _find_next(self) -> None:
        """Move to where frames or a tag begin, or as far as can be said yet."""
        at = find(self._data, self._at + 1, self._ended)
        if at < 0:
            at = len(self._data) if self._ended else max(self._at + 1, len(self._data) - 3 * _MOST_FRAME)
        tags = (self._data.find(tag, self._at + 1, at) for tag in _TAGS)
        at = min((tag for tag in tags if tag >= 0), default=at)
        if any(self._data[self._at : at]):
            self.rubbish += at - self._at
        self._at = at

    def _skip(self, length: int) -> None:
        beyond = self._at + length - len(self._data)
        self._at = min(len(self._data), self._at + length)
        if beyond > 0:
            self._source.skip(beyond)

    def _fill(self) -> None:
        parts = [self._data[self._at :]]
        wanted = 4 * _MOST_FRAME - len(parts[0])
        while wanted > 0:
            data = self._source.read(_READ)
            if not data:
                self._ended = True
                break
            parts.append(data)
            wanted -= len(data)
        self._data, self._at = b"".join(parts), 0


class XingHeader(NamedTuple):
    """What the first frame says about those after it."""

    n_frames: int | None
    delay: int  # samples that the encoder added at the start
    padding: int  # and at the end


def xing_header(header: FrameHeader, frame: bytes) -> XingHeader | None:
    """The contents of ``frame`` if it is a header frame without sound (Xing, Info, VBRI)."""
    if header.layer != 3:
        return None
    at = 4 + header.side_bytes
    if frame[36:40] == b"VBRI":
        return XingHeader(struct.unpack_from(">I", frame.ljust(64, b"\0"), 50)[0] or None, 0, 0)
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        at += 2  # after a checksum
        if frame[at : at + 4] not in (b"Xing", b"Info"):
            return None
    frame = frame.ljust(at + 160, b"\0")
    flags = struct.unpack_from(">I", frame, at + 4)[0]
    at += 8
    n_frames = struct.unpack_from(">I", frame, at)[0] if flags & 1 else None
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    delay = padding = 0
    if frame[at : at + 4] in (b"LAME", b"Lavf", b"Lavc") or frame[at : at + 2] == b"L3":
        both = int.from_bytes(frame[at + 21 : at + 24], "big")
        delay, padding = both >> 12, both & 0xFFF
    return XingHeader(n_frames, delay, padding)


class _Part:
    """One of several concatenated files: counts its frames, removes its delay and padding."""

    def __init__(self, xing: XingHeader | None = None, n_samples: int = 0) -> None:
        self.claim = xing.n_frames if xing else None
        self.n_frames = 0
        skip = xing.delay + _DECODER_DELAY if xing and xing.delay else 0
        self._padding = max(0, xing.padding - _DECODER_DELAY) if xing and xing.delay else 0
        if xing and xing.n_frames and xing.n_frames * n_samples <= skip + self._padding:
            skip = self._padding = 0  # otherwise nothing would be left
        self._trimmer = Trimmer(skip, self._padding)

    def push(self, block: RatedBlock) -> Iterator[RatedBlock]:
        return self._trimmer.push(block)

    def rest(self) -> Iterator[RatedBlock]:
        """The samples held back, without the padding if the number of frames is the header's."""
        return self._trimmer.rest(self._padding if self.is_whole else 0)

    @property
    def is_whole(self) -> bool:
        """To within a frame: some encoders count the header's own, too."""
        return self.claim is None or abs(self.claim - self.n_frames) <= 1


class MpegDecoder:
    """Decodes MPEG audio from ``source``, positioned at the first frame or what precedes it."""

    n_samples: int | None = None
    is_finite = False

    def __init__(self, source: Source, findings: Findings) -> None:
        import av

        self._av, self._findings = av, findings
        self._found = Frames(source)
        self._frames = iter(self._found)
        self._first = next(self._frames, None)
        if self._first is None:
            raise AudioError("it holds no samples")
        self.sampling_rate, self.channels = self._first[0].sampling_rate, self._first[0].channels
        self._kind = (self._first[0].layer, self.sampling_rate, self.channels)
        self._decoder: Any = None
        self._before: list[bytes] = []  # the last frames decoded
        self._failed = 0  # frames in a row
        self._position = 0

    def blocks(self) -> Iterator[RatedBlock]:
        part = _Part()
        for xing, frames in self._runs():
            if xing:
                yield from self._finished(part)
                part = _Part(xing, frames[0][0].n_samples)
                self._decoder, self._before = None, []
            part.n_frames += len(frames)
            decoded = self._decoded(frames)
            if decoded:
                yield from part.push(decoded)
        if self._failed:
            self._tell_failed(at_edge=True)
        yield from self._finished(part)
        if self._found.rubbish:
            self._findings.warn(
                f"{self._found.rubbish} bytes of something else between its frames were skipped"
            )
        if self._found.is_cut:
            self._findings.warn("it was cut off within its last frame; the complete frames are read")

    def _runs(self) -> Iterator[tuple[XingHeader | None, list[tuple[FrameHeader, bytes]]]]:
        """Runs of frames of one kind; a header comes before the frames it counts."""
        run: list[tuple[FrameHeader, bytes]] = []
        xing: XingHeader | None = None
        assert self._first is not None
        for header, frame in chain([self._first], self._frames):
            new = xing_header(header, frame)
            differs = run and not (_alike(run[0][0], header) and run[0][0].channels == header.channels)
            if run and (new or differs or len(run) * header.n_samples >= _GATHERED):
                yield xing, run
                xing, run = None, []
            if new:
                xing = new
            else:
                run.append((header, frame))
        if run:
            yield xing, run

    def _finished(self, part: _Part) -> Iterator[RatedBlock]:
        if not part.is_whole:
            self._findings.warn(
                f"its header counts {part.claim} frames, there are {part.n_frames}; all are read"
            )
        yield from part.rest()

    def _decoded(self, frames: list[tuple[FrameHeader, bytes]]) -> RatedBlock | None:
        """Frames of one kind as samples; those that cannot be decoded are left out and reported."""
        header, context = frames[0][0], self._context(frames[0][0])
        data = [frame for _, frame in frames]
        try:
            decoded = context.decode(self._av.Packet(b"".join(data)))  # all at once, which is faster
        except (self._av.FFmpegError, ValueError):
            decoded = []
        if len(decoded) == len(frames) and not self._failed:
            self._position += len(frames) * header.n_samples
        else:
            decoded = self._one_by_one(header, data)
        self._before = data[-_RESERVOIR:]
        return (header.sampling_rate, frame_samples(decoded)) if decoded else None

    def _one_by_one(self, header: FrameHeader, data: list[bytes]) -> list[Any]:
        self._decoder = None
        context, decoded = self._context(header), []
        for frame in self._before:  # which the next ones may refer to
            with contextlib.suppress(self._av.FFmpegError, ValueError):
                context.decode(self._av.Packet(frame))
        for frame in data:
            try:
                decoded += context.decode(self._av.Packet(frame))
            except (self._av.FFmpegError, ValueError):
                self._failed += 1
                continue
            if self._failed:
                self._tell_failed(at_edge=not self._position)
            self._position += header.n_samples
        return decoded

    def _context(self, header: FrameHeader) -> Any:
        """A decoder for frames of this kind."""
        kind = (header.layer, header.sampling_rate, header.channels)
        if kind != self._kind:
            self._findings.warn(
                f"it changes from {self._kind[1]} Hz and {self._kind[2]} channel(s) to {kind[1]} Hz and {kind[2]} "
                f"after {self._position} samples; everything is converted to how it begins"
            )
            self._kind, self._decoder, self._before = kind, None, []
        if self._decoder is None:
            self._decoder = self._av.CodecContext.create(f"mp{header.layer}float", "r")
        return self._decoder

    def _tell_failed(self, at_edge: bool) -> None:
        failed, self._failed = self._failed, 0
        if at_edge and failed == 1:
            where = "last" if self._position else "first"
            self._findings.warn(f"its {where} frame cannot be decoded; the rest is read")
        else:
            self._findings.damaged(
                f"it is damaged: {failed} frame(s) cannot be decoded", self._position / self.sampling_rate
            )

    def close(self) -> None:
        self._decoder = None
