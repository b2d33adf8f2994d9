"""AIFF and AIFC."""

from __future__ import annotations

import struct

from dacodec.audio.containers.chunks import Chunking, find_audio, with_honest_claim
from dacodec.audio.containers.content import Content, Kind, SampleType
from dacodec.audio.source import Source

_AIFC: dict[bytes, tuple[Kind, int, bool]] = {  # bytes per sample, 0 for as many as its bits need; big-endian
    b"NONE": ("integer", 0, True),
    b"twos": ("integer", 0, True),
    b"sowt": ("integer", 0, False),
    b"in24": ("integer", 3, True),
    b"in32": ("integer", 4, True),
    b"42n1": ("integer", 3, False),
    b"23ni": ("integer", 4, False),
    b"raw ": ("unsigned", 1, True),
    b"fl32": ("float", 4, True),
    b"FL32": ("float", 4, True),
    b"fl64": ("float", 8, True),
    b"FL64": ("float", 8, True),
    b"ulaw": ("ulaw", 1, True),
    b"ULAW": ("ulaw", 1, True),
    b"alaw": ("alaw", 1, True),
    b"ALAW": ("alaw", 1, True),
}


def read_aiff(source: Source) -> Content:
    source.skip(12)
    start, size, described = find_audio(source, Chunking(struct.Struct(">4sI"), 2), b"SSND", b"COMM")
    if source.seekable():
        source.seek(start)
    offset = struct.unpack_from(">I", source.take(8))[0]
    position, claim = start + 8 + offset, max(0, size - 8 - offset)
    common = described[b"COMM"]
    channels, frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", common)
    name = common[18:22] or b"NONE"
    kind = _AIFC.get(name)
    sample = None
    if kind and (kind[1] or 1 <= bits <= 64):
        sample = SampleType(kind[0], kind[1] or -(-bits // 8), kind[2])
    rate = round(mantissa * 2.0 ** max(-80, min(80, (exponent & 0x7FFF) - 16383 - 63)))
    coding = f"{name.decode('latin-1').strip()!r}, a coding of AIFC"
    content = Content("AIFF", rate, channels, sample, coding, position, claim, big_endian=True)
    if sample and frames * content.frame_bytes > claim and claim:
        content = content._replace(claim=frames * content.frame_bytes)
    return with_honest_claim(source, content)
