"""CAF."""

from __future__ import annotations

import struct

from dacodec.audio.containers.chunks import Chunking, find_audio, with_honest_claim
from dacodec.audio.containers.content import Content, SampleType
from dacodec.audio.source import Source


def read_caf(source: Source) -> Content:
    source.skip(8)
    position, size, described = find_audio(source, Chunking(struct.Struct(">4sq"), 1), b"data", b"desc")
    # The audio begins with an edit count of 4 bytes.
    return _content(source, described[b"desc"], position + 4, max(0, size - 4))


def _content(source: Source, description: bytes, position: int, claim: int) -> Content:
    rate, name, flags, packet, _, channels, bits = struct.unpack_from(">d4sIIIII", description)
    sample = None
    if name == b"lpcm":
        n_bytes = packet // channels if channels and packet else -(-bits // 8)
        little = bool(flags & 2)
        if flags & 1 and n_bytes in (4, 8):
            sample = SampleType("float", n_bytes, not little)
        elif not flags & 1 and 1 <= n_bytes <= 8:
            sample = SampleType("integer", n_bytes, not little)
    elif name in (b"ulaw", b"alaw"):
        sample = SampleType("ulaw" if name == b"ulaw" else "alaw", 1)
    whole = round(rate) if 0 < rate < 1e9 else 0
    coding = f"{name.decode('latin-1').strip()!r}, a coding of CAF"
    content = Content("CAF", whole, channels, sample, coding, position, claim, pads=False)
    return with_honest_claim(source, content)
