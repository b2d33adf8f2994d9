"""The chunks that most of these files consist of: finding them, skipping them, and telling them from audio.

Headers with errors are tolerated if the audio can be read all the same: interrupted recorders leave sizes of
0 or all ones, and many programs forget the padding byte after an odd chunk.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from dacodec.audio.containers.content import Content
from dacodec.audio.source import Source
from dacodec.errors import AudioError

# From here on, a size beyond the end is no claim: programs that write to a pipe cannot know the size.
_UNKNOWN_BYTES = (1 << 31) - (1 << 16)
_MOST_HEADER = 1 << 16  # bytes read of a chunk that describes the audio

_KNOWN_CHUNKS = frozenset(
    (
        b"fmt ,data,LIST,fact,bext,cue ,smpl,inst,iXML,JUNK,junk,PEAK,"
        b"id3 ,ID3 ,PAD ,FLLR,axml,chna,ds64,cart,DISP,afsp,plst,levl,"
        b"COMM,SSND,FVER,MARK,INST,MIDI,AESD,APPL,COMT,NAME,AUTH,ANNO,"
        b"(c) ,CHAN,basc,trns,umid,_PMX,minf,elm1,regn,acid,strc,SAUR"
    ).split(b",")
)


class Chunking(NamedTuple):
    """How a family of files writes its chunks."""

    head: struct.Struct  # name and size
    multiple: int  # of bytes that a chunk is padded to
    sizes_count_heads: bool = False


class Found(NamedTuple):
    """The audio chunk, and the contents of the chunks that describe it."""

    position: int
    size: int
    descriptions: dict[bytes, bytes]


def find_audio(source: Source, chunking: Chunking, audio: bytes, *describing: bytes) -> Found:
    """The chunk called ``audio`` and those in ``describing``, of which the first must be there. Leaves ``source`` anywhere.

    Raises:
        AudioError: if one is missing; in a pipe, the description must come before the audio.
    """
    found: tuple[int, int] | None = None
    descriptions: dict[bytes, bytes] = {}
    while len(head := source.take(chunking.head.size)) == chunking.head.size:
        name, size = chunking.head.unpack(head)
        size = max(0, size - chunking.sizes_count_heads * chunking.head.size)
        taken = 0
        if name == audio:
            found = found or (source.tell(), size)
            if not source.seekable():
                break
        elif name in describing:
            body = source.take(min(size, _MOST_HEADER))
            descriptions.setdefault(name, body)
            taken = len(body)
        if found and describing[0] in descriptions:
            break
        source.skip(size - taken)
        _fill(source, size, chunking.multiple)
    if found is None:
        kind = "sound" if audio == b"SSND" else "data"
        raise AudioError(f"it has no {kind} chunk: it ends after its header, or is damaged")
    if describing[0] not in descriptions:
        raise AudioError("its format does not come before its audio; if this is a pipe, save it to a file")
    return Found(*found, descriptions)


def _fill(source: Source, size: int, multiple: int) -> None:
    if multiple == 2:
        skip_padding(source, size)
    else:
        source.skip(-size % multiple)


def what_follows(source: Source, pads: bool | None) -> Literal["nothing", "chunks", "audio"]:
    """What follows the audio, judged by its first bytes."""
    if pads is None:
        head = source.peek(256)
        return "audio" if head and any(head) else "nothing"
    head = source.peek(256)
    if len(head) < 16 or not any(head) or head.startswith((b"TAG", b"ID3", b"APETAGEX")):
        return "nothing"
    return "chunks" if _looks_like_chunk(head) or _looks_like_chunk(head[1:]) else "audio"


def next_file(source: Source, content: Content) -> bool:
    """Whether another file is appended to this one; ``source``, at the end of the audio, is moved to it."""
    if not content.pads:
        return False
    skip_padding(source, content.claim or 0)
    while len(head := source.peek(8)) == 8 and _looks_like_chunk(head):
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            return True
        size = struct.unpack(">I" if content.big_endian else "<I", head[4:])[0]
        source.skip(8 + size)
        skip_padding(source, size)
    return False


def with_honest_claim(source: Source, content: Content) -> Content:
    """``content`` without a claim if the size was never filled in: 0 before audio, or near all ones and
    beyond the end.

    Moves ``source`` to the audio.
    """
    source.seek(content.start) if source.seekable() else source.skip(content.start - source.tell())
    claim = content.claim
    if claim == 0 and what_follows(source, content.pads) != "chunks":
        return content._replace(claim=None)
    if claim is not None and claim >= _UNKNOWN_BYTES:
        beyond = source.size is None or content.start + claim > source.size
        return content._replace(is_firm=not beyond)
    return content


def skip_padding(source: Source, size: int) -> None:
    """Skip the padding byte of an odd chunk, if it is there."""
    if size % 2:
        head = source.peek(9)
        unpadded = head[:4] in _KNOWN_CHUNKS and head[1:5] not in _KNOWN_CHUNKS
        source.skip(0 if unpadded else 1)


def _looks_like_chunk(head: bytes) -> bool:
    name = head[:4]
    return name in _KNOWN_CHUNKS or (len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name))
