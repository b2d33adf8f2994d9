#!/usr/bin/env python
"""Attack the reader of .dacz files: python tests/fuzz/fuzz_reader.py CORPUS [-runs=2000000] [libFuzzer's options]

Needs atheris. Inputs are files; the mutator changes bytes and then usually repairs the CRCs, since nothing gets past them
otherwise. Each input is read strictly and with conceal, and many are peeled, verified and sought in. The only error
allowed is a FormatError with an offset inside the file; codes must be in range, and time must advance evenly.
"""

import random
import struct
import sys
import zlib
from binascii import crc_hqx
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "container"))

with atheris.instrument_imports(include=["dacodec.container"]):
    import attack


def repaired(data: bytes) -> bytes:
    """``data`` with corrected CRCs of the header and of every recognisable block."""
    data = bytearray(data)
    if len(data) < 16:
        return bytes(data)
    length = struct.unpack_from("<H", data, 10)[0]
    if 16 <= length <= len(data):
        struct.pack_into("<I", data, length - 4, zlib.crc32(data[: length - 4]))
    starts = [i for i in range(len(data) - 12) if data[i : i + 2] == b"\xda\xc5"]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=False):
        struct.pack_into("<H", data, start + 10, crc_hqx(bytes(data[start : start + 10]), 0xFFFF))
        if end - start >= 16:
            struct.pack_into("<I", data, end - 4, zlib.crc32(data[start : end - 4]))
    return bytes(data)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    data = atheris.Mutate(data, max_size)
    return repaired(data)[:max_size] if random.Random(seed).random() < 0.9 else data


if __name__ == "__main__":
    # The rest for one input in eight, because it takes several times as long.
    atheris.Setup(
        sys.argv, lambda data: attack.attack(data, thorough=zlib.crc32(data) % 8 == 0), custom_mutator=mutate
    )
    atheris.Fuzz()
