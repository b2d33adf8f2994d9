"""Files that hold plain samples: WAV (RIFF, RIFX, RF64, BW64), W64, AIFF, CAF, AU.

Only what is needed to find the audio is read, from front to back. Headers are forgiven where the audio can be
had all the same: recorders that are cut off leave sizes of 0 or all ones, and many programs forget the byte that
follows an odd chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

from dacodec.audio.source import Source
from dacodec.errors import AudioError

# From here on, a size beyond the end is no claim: programs that write to a pipe cannot know better.
_UNKNOWN_BYTES = (1 << 31) - (1 << 16)
_MOST_HEADER = 1 << 16  # bytes that are looked at of a chunk that describes the audio

Kind = Literal["integer", "unsigned", "float", "ulaw", "alaw"]


class SampleType(NamedTuple):
    """How a sample is stored; the upper bits count where an integer does not fill its bytes."""

    kind: Kind
    n_bytes: int
    big_endian: bool = False


class Content(NamedTuple):
    """What a file holds, and where.

    Args:
        container: as ``"WAV"``.
        sample: None where the audio is coded.
        coding: what it is, for people.
        start: position of the audio, in bytes.
        claim: bytes of it that the header promises; None for none.
        is_firm: whether less than the claim is damage, and more is worth a word.
        pads: whether chunks begin at even positions; None where no chunks follow.
        big_endian: the container's own order.
    """

    container: str
    sampling_rate: int
    channels: int
    sample: SampleType | None
    coding: str
    start: int
    claim: int | None
    is_firm: bool = True
    pads: bool | None = True
    big_endian: bool = False

    @property
    def frame_bytes(self) -> int:
        assert self.sample is not None
        return self.sample.n_bytes * self.channels


def parse(source: Source) -> Content | None:
    """What ``source``, which is at position 0, holds; None if it is no such file. Leaves it anywhere.

    Raises:
        AudioError: if its header makes no sense.
    """
    head = source.peek(40)
    for magic, offset, reader in _READERS:
        if head[offset : offset + len(magic)] == magic:
            try:
                return reader(source)
            except struct.error:
                raise AudioError("it ends within its header") from None
    return None


def what_follows(source: Source, pads: bool | None) -> Literal["nothing", "chunks", "audio"]:
    """What stands behind the audio, judged by its first bytes."""
    if pads is None:
        head = source.peek(256)
        return "audio" if head and any(head) else "nothing"
    head = source.peek(256)
    if len(head) < 16 or not any(head) or head.startswith((b"TAG", b"ID3", b"APETAGEX")):
        return "nothing"
    return "chunks" if _looks_like_chunk(head) or _looks_like_chunk(head[1:]) else "audio"


def next_file(source: Source, content: Content) -> bool:
    """Whether another file was joined to the end of this one; ``source``, behind the audio, is moved to it."""
    if not content.pads:
        return False
    _skip_padding(source, content.claim or 0)
    while len(head := source.peek(8)) == 8 and _looks_like_chunk(head):
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            return True
        size = struct.unpack(">I" if content.big_endian else "<I", head[4:])[0]
        source.skip(8 + size)
        _skip_padding(source, size)
    return False


# WAV and its big sisters

_TAGS = {
    0x0002: "MS ADPCM",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0040: "G.721",
    0x0042: "G.723.1",
    0x0045: "G.726",
    0x0050: "MPEG layer 2",
    0x0055: "MP3",
    0x0064: "G.726",
    0x0065: "G.722",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0160: "WMA 1",
    0x0161: "WMA 2",
    0x0162: "WMA Pro",
    0x0163: "WMA Lossless",
    0x028F: "G.722",
    0x0270: "ATRAC3",
    0x1600: "AAC",
    0x1602: "AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x566F: "Vorbis",
    0x674F: "Vorbis",
    0x704F: "Opus",
    0xF1AC: "FLAC",
}
_KNOWN_CHUNKS = frozenset(
    [
        *[
            b"fmt ",
            b"data",
            b"LIST",
            b"fact",
            b"bext",
            b"cue ",
            b"smpl",
            b"inst",
            b"iXML",
            b"JUNK",
            b"junk",
            b"PEAK",
        ],
        *[
            b"id3 ",
            b"ID3 ",
            b"PAD ",
            b"FLLR",
            b"axml",
            b"chna",
            b"ds64",
            b"cart",
            b"DISP",
            b"afsp",
            b"plst",
            b"levl",
        ],
        *[
            b"COMM",
            b"SSND",
            b"FVER",
            b"MARK",
            b"INST",
            b"MIDI",
            b"AESD",
            b"APPL",
            b"COMT",
            b"NAME",
            b"AUTH",
            b"ANNO",
        ],
        *[
            b"(c) ",
            b"CHAN",
            b"basc",
            b"trns",
            b"umid",
            b"_PMX",
            b"minf",
            b"elm1",
            b"regn",
            b"acid",
            b"strc",
            b"SAUR",
        ],
    ]
)
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def _wav(source: Source) -> Content:
    name = source.take(12)[:4]
    big_endian = name == b"RIFX"
    size_64: int | None = None
    header = b""
    data: tuple[int, int] | None = None  # position and size
    while len(head := source.take(8)) == 8:
        chunk, size = head[:4], struct.unpack(">I" if big_endian else "<I", head[4:])[0]
        position = source.tell()
        if chunk == b"data":
            data = data or (position, size)
            if header or not source.seekable():
                break
        body = b""
        if chunk in (b"fmt ", b"ds64"):
            body = source.take(min(size, _MOST_HEADER))
            if chunk == b"ds64":
                size_64 = struct.unpack_from("<Q", body, 8)[0]
            else:
                header = header or body
                if data:
                    break
        source.skip(size - len(body))
        _skip_padding(source, size)
    if data is None:
        raise AudioError("it has no data chunk: its header is all there is, or damaged")
    if not header:
        raise AudioError("nothing tells its format before its audio; save it to a file, if this is a pipe")
    position, size = data
    claim = size_64 if size == 0xFFFFFFFF and size_64 else size
    return _wav_content(
        source, header, position, claim, {b"RIFF": "WAV"}.get(name, name.decode()), big_endian
    )


def _wav_content(
    source: Source, header: bytes, position: int, claim: int, container: str, big_endian: bool = False
) -> Content:
    order = ">" if big_endian else "<"
    tag, channels, rate, _, block, bits = struct.unpack_from(order + "HHIIHH", header.ljust(16, b"\0"))
    if tag == 0xFFFE and len(header) >= 40:
        tag = struct.unpack_from(order + "I", header, 24)[0] & 0xFFFF  # the GUID's first number
    sample = None
    if tag in (1, 3):
        n_bytes = -(-bits // 8)
        if channels and block % channels == 0 and n_bytes <= block // channels <= 8:
            n_bytes = block // channels
        if tag == 1 and 1 <= n_bytes <= 8:
            sample = SampleType("unsigned" if n_bytes == 1 else "integer", n_bytes, big_endian)
        elif tag == 3 and n_bytes in (4, 8):
            sample = SampleType("float", n_bytes, big_endian)
    elif tag in (6, 7):
        sample = SampleType("alaw" if tag == 6 else "ulaw", 1)
    coding = f"{_TAGS.get(tag, 'an unknown coding')} (format tag 0x{tag:04X})"
    pads = not container.startswith("W64")
    content = Content(container, rate, channels, sample, coding, position, claim, True, pads, big_endian)
    return _with_honest_claim(source, content)


def _w64(source: Source) -> Content:
    source.skip(40)
    header = b""
    while len(head := source.take(24)) == 24:
        size = struct.unpack_from("<Q", head, 16)[0] - 24
        position = source.tell()
        if head[:4] == b"data" and header:
            return _wav_content(source, header, position, max(0, size), "W64")
        body = source.take(min(max(0, size), _MOST_HEADER)) if head[:4] == b"fmt " else b""
        header = header or body
        source.skip(max(0, (size + 7) // 8 * 8 - len(body)))
    raise AudioError("it has no data chunk: its header is all there is, or damaged")


# AIFF

_AIFC: dict[bytes, tuple[Kind, int, bool]] = {  # bytes a sample, 0 for as many as its bits take; big-endian
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


def _aiff(source: Source) -> Content:
    source.skip(12)
    common = b""
    data: tuple[int, int] | None = None
    while len(head := source.take(8)) == 8:
        chunk, size = head[:4], struct.unpack(">I", head[4:])[0]
        body = b""
        if chunk == b"SSND":
            body = source.take(8)
            offset = struct.unpack_from(">I", body)[0]
            claim = max(0, size - 8 - offset) if size > 8 else 0
            data = data or (source.tell() + offset, claim)
            if common or not source.seekable():
                break
        elif chunk == b"COMM":
            body = common = source.take(min(size, _MOST_HEADER))
            if data:
                break
        source.skip(size - len(body))
        _skip_padding(source, size)
    if data is None:
        raise AudioError("it has no sound chunk: its header is all there is, or damaged")
    if not common:
        raise AudioError("nothing tells its format before its audio; save it to a file, if this is a pipe")
    channels, frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", common)
    name = common[18:22] or b"NONE"
    kind = _AIFC.get(name)
    sample = None
    if kind and (kind[1] or 1 <= bits <= 64):
        sample = SampleType(kind[0], kind[1] or -(-bits // 8), kind[2])
    rate = round(mantissa * 2.0 ** max(-80, min(80, (exponent & 0x7FFF) - 16383 - 63)))
    position, claim = data
    source.seek(position) if source.seekable() else source.skip(position - source.tell())
    coding = f"{name.decode('latin-1').strip()!r}, a coding of AIFC"
    content = Content("AIFF", rate, channels, sample, coding, position, claim, big_endian=True)
    if sample and frames * content.frame_bytes > claim and claim:
        content = content._replace(claim=frames * content.frame_bytes)
    return _with_honest_claim(source, content)


# CAF and AU


def _caf(source: Source) -> Content:
    source.skip(8)
    description = b""
    while len(head := source.take(12)) == 12:
        chunk, size = struct.unpack(">4sq", head)
        if chunk == b"data" and description:
            source.skip(4)
            return _caf_content(source, description, source.tell(), max(0, size - 4))
        body = source.take(min(size, _MOST_HEADER)) if chunk == b"desc" else b""
        description = description or body
        source.skip(size - len(body))
    raise AudioError("it has no data chunk, or none tells its format before it")


def _caf_content(source: Source, description: bytes, position: int, claim: int) -> Content:
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
    return _with_honest_claim(source, content)


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


def _au(source: Source) -> Content:
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
    return _with_honest_claim(source, content)


_READERS: list[tuple[bytes, int, Callable[[Source], Content]]] = [
    (b"RIFF", 0, lambda source: _wav(source)),
    (b"RIFX", 0, _wav),
    (b"RF64", 0, _wav),
    (b"BW64", 0, _wav),
    (_W64_RIFF, 0, _w64),
    (b"AIFF", 8, _aiff),
    (b"AIFC", 8, _aiff),
    (b"caff", 0, _caf),
    (b".snd", 0, _au),
    (b"dns.", 0, _au),
]


def _with_honest_claim(source: Source, content: Content) -> Content:
    """No claim where the size was never filled in: 0 with audio behind it, or near all ones and beyond the end."""
    if source.seekable():
        source.seek(content.start)
    claim = content.claim
    if claim == 0 and what_follows(source, content.pads) != "chunks":
        return content._replace(claim=None)
    if claim is not None and claim >= _UNKNOWN_BYTES:
        beyond = source.size is None or content.start + claim > source.size
        return content._replace(is_firm=not beyond)
    return content


def _skip_padding(source: Source, size: int) -> None:
    """Past the byte that fills an odd chunk, if it is there."""
    if size % 2:
        head = source.peek(9)
        unpadded = head[:4] in _KNOWN_CHUNKS and head[1:5] not in _KNOWN_CHUNKS
        source.skip(0 if unpadded else 1)


def _looks_like_chunk(head: bytes) -> bool:
    name = head[:4]
    return name in _KNOWN_CHUNKS or (len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name))
