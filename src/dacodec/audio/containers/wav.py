"""WAV (RIFF, RIFX, RF64, BW64) and W64."""

from __future__ import annotations

import struct

from dacodec.audio.containers.chunks import Chunking, find_audio, with_honest_claim
from dacodec.audio.containers.content import Content, SampleType
from dacodec.audio.source import Source

W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")

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


def read_wav(source: Source) -> Content:
    name = source.take(12)[:4]
    big_endian = name == b"RIFX"
    chunking = Chunking(struct.Struct(">4sI" if big_endian else "<4sI"), 2)
    position, size, described = find_audio(source, chunking, b"data", b"fmt ", b"ds64")
    size_64 = struct.unpack_from("<Q", described[b"ds64"], 8)[0] if b"ds64" in described else 0
    claim = size_64 if size == 0xFFFFFFFF and size_64 else size
    container = {b"RIFF": "WAV"}.get(name, name.decode())
    return _content(source, described[b"fmt "], position, claim, container, big_endian)


def read_w64(source: Source) -> Content:
    source.skip(40)
    chunking = Chunking(struct.Struct("<4s12xQ"), 8, sizes_count_heads=True)
    position, size, described = find_audio(source, chunking, b"data", b"fmt ")
    return _content(source, described[b"fmt "], position, size, "W64")


def _content(
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
    return with_honest_claim(source, content)
