"""How many codes are the same in half precision as in float32: the table of docs/accuracy.md.

python bench/dtypes.py [--device cuda]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from dacodec import Codec
from dacodec.audio import read, resample

CLIPS = Path(__file__).parents[1] / "tests" / "data" / "clips"
SECONDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="builtin")
    args = parser.parse_args()
    full = Codec.from_pretrained(args.model, device=args.device)
    audios = []
    for path in sorted(CLIPS.glob("*.flac")):
        samples, rate = read(path)
        audios.append(resample(samples[:1, : SECONDS * rate], rate, full.sampling_rate))
    expected = [full.encode(audio, full.sampling_rate).codes for audio in audios]
    decoded = [full.decode(full.from_codes(codes)) for codes in expected]
    print(
        "| dtype | device | same codes | same first codebook | decoded audio, error / signal |\n|---|---|---|---|---|"
    )
    for dtype in (torch.float16, torch.bfloat16):
        half = Codec.from_pretrained(args.model, device=args.device, dtype=dtype)
        codes = [half.encode(audio, half.sampling_rate).codes for audio in audios]
        same = np.concatenate([a == b for a, b in zip(codes, expected, strict=True)], axis=2)
        audio = [half.decode(half.from_codes(c)) for c in expected]
        error = sum(float(((a - b) ** 2).sum()) for a, b in zip(audio, decoded, strict=True))
        signal = sum(float((b**2).sum()) for b in decoded)
        print(
            f"| {str(dtype).removeprefix('torch.')} | {args.device} | {same.mean():.2%} | {same[:, 0].mean():.2%} "
            f"| {10 * np.log10(error / signal):.0f} dB |"
        )


if __name__ == "__main__":
    main()
