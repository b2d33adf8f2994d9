"""Files that hold plain samples: WAV (RIFF, RIFX, RF64, BW64), W64, AIFF, CAF, AU.

Only what is needed to find the audio is read, from front to back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from dacodec.audio.containers.aiff import read_aiff
from dacodec.audio.containers.au import read_au
from dacodec.audio.containers.caf import read_caf
from dacodec.audio.containers.chunks import next_file, what_follows
from dacodec.audio.containers.content import Content, SampleType
from dacodec.audio.containers.wav import W64_RIFF, read_w64, read_wav
from dacodec.audio.source import Source
from dacodec.errors import AudioError

__all__ = ["Content", "SampleType", "next_file", "parse", "what_follows"]

_READERS: list[tuple[bytes, int, Callable[[Source], Content]]] = [
    (b"RIFF", 0, read_wav),
    (b"RIFX", 0, read_wav),
    (b"RF64", 0, read_wav),
    (b"BW64", 0, read_wav),
    (W64_RIFF, 0, read_w64),
    (b"AIFF", 8, read_aiff),
    (b"AIFC", 8, read_aiff),
    (b"caff", 0, read_caf),
    (b".snd", 0, read_au),
    (b"dns.", 0, read_au),
]


def parse(source: Source) -> Content | None:
    """What ``source``, at position 0, holds; None if it is no such file. Leaves its position undefined.

    Raises:
        AudioError: if its header is invalid.
    """
    head = source.peek(40)
    for magic, offset, reader in _READERS:
        if head[offset : offset + len(magic)] == magic:
            try:
                return reader(source)
            except struct.error:
                raise AudioError("it ends within its header") from None
    return None
