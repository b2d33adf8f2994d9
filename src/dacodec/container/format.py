"""The constants and checksums of docs/format.md."""

from __future__ import annotations

import binascii
import zlib

SUFFIX = ".dacz"

MAGIC = b"\x89DAC\r\n\x1a\n"
VERSION = 1  # frozen: anything new is an extension of the header, or another version
DRAFT = 0  # written before version 1 was frozen
SYNC = b"\xda\xc5"
RAW = ord("P")
CODED = ord("C")
INDEX = ord("I")
END = ord("E")

UNKNOWN_SAMPLES = 2**64 - 1
MAX_SAMPLES = 2**53 - 1
MAX_FRAMES = 2**32 - 1
MAX_PACKET_SECONDS = 10
MAX_PACKET_CODES = 2**20
MAX_CODED_CODES = 2**13  # in a coded segment
MAX_INDEX_ENTRIES = 2**16 - 1

CRC_BYTES = 4


def crc16(data: bytes) -> int:
    """CRC-16/CCITT with start value 0xFFFF."""
    return binascii.crc_hqx(data, 0xFFFF)


def sealed(data: bytes) -> bytes:
    """``data`` with its CRC-32 appended."""
    return data + zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def seal_holds(data: bytes) -> bool:
    """Whether ``data`` ends with the CRC-32 of what comes before."""
    return zlib.crc32(data[:-CRC_BYTES]) == int.from_bytes(data[-CRC_BYTES:], "little")


def code_bits(codebook_size: int) -> int:
    """Bits per code below ``codebook_size``."""
    return (codebook_size - 1).bit_length()


def segment_bytes(n_codes: int, width: int) -> int:
    """Bytes that ``n_codes`` codes of ``width`` bits take, rounded up."""
    return (n_codes * width + 7) // 8
