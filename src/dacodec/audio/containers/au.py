"""AU."""

from __future__ import annotations

import struct

from dacodec.audio.containers.chunks import with_honest_claim
from dacodec.audio.containers.content import Content, Kind, SampleType
from dacodec.audio.source import Source

_AU: dict[int, tuple[Kind, int]] = {
    1: ("ulaw", 1),
    2: ("integer", 1),
    3: ("integer", 2),
    4: ("integer", 3),
    5: ("integer", 4),
    6: ("float", 4),
    7: ("float", 8),
    27: ("alaw", 1),
}


def read_au(source: Source) -> Content:
    head = source.take(24)
    big_endian = head[:4] == b".snd"
    start, size, encoding, rate, channels = struct.unpack((">" if big_endian else "<") + "IIIII", head[4:])
    source.skip(start - 24)
    kind = _AU.get(encoding)
    sample = SampleType(*kind, big_endian) if kind else None
    claim = 0 if size == 0xFFFFFFFF else size
    content = Content(
        "AU", rate, channels, sample, f"encoding {encoding} of AU", max(24, start), claim, pads=None
    )
    return with_honest_claim(source, content)
