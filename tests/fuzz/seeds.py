"""Small files to start the fuzzer from: python tests/fuzz/seeds.py FOLDER"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "container"))

import numpy as np
import tiny
from golden_dacz import GOLDEN
from slow_dacz import block_bytes, end_bytes

from dacodec.container import Extension

BAD = Path(__file__).parents[1] / "bad_files"


def seeds():
    yield "golden", GOLDEN
    small = replace(
        tiny.HEADER,
        packet_frames=3,
        model_sampling_rate=10,
        sampling_rate=10,
        tags=(),
        channels=1,
        channel_coding=0,
        speakers=4,
        n_codebooks=2,
        codebook_size=16,
    )
    codes = np.full((1, 2, 7), 4)
    # Any bytes are a valid coded segment. Short ones keep the fuzzer fast.
    blocks = [
        block_bytes(b"C", 2, 2, 0, b"\3\1\1"),
        block_bytes(b"C", 2, 3, 2, b"\1\1\x70\1\2"),
        end_bytes(5, 50),
    ]
    yield "coded", small.to_bytes() + b"".join(blocks)
    raw = replace(small, prior_id=None, codebook_size=5, extensions=(Extension(0x9000, b"x"),))
    yield "raw", tiny.written(raw, codes, 3)
    yield "known", tiny.written(replace(raw, n_samples=60), codes)
    yield "empty", tiny.written(small, codes[:, :, :0], 0)
    tagged = replace(small, tags=tiny.HEADER.tags, prior_id=None)
    yield "tags", tiny.written(tagged, codes[:, :, :1], 1)
    for path in sorted(BAD.glob("*.dacz")):
        if path.stat().st_size < 500:
            yield path.stem, path.read_bytes()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)
