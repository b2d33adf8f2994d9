"""Mel distance and intelligibility on the validation audio.

    python scripts/train/validate.py CACHE [--model builtin] [--n-quantizers K]

Protocol: 44.1 kHz mono at -16 LUFS (prepare.py); mel distance of each file, mean over the files of a pool, mean over
the pools; STOI over all speech files; usage and entropy of the codebooks over all files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from pystoi import stoi

from dacodec import Codec
from dacodec.spectra import mel_distance


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--n-quantizers", type=int)
    parser.add_argument("--files", type=int, default=1000, help="at most so many a pool")
    args = parser.parse_args()
    codec = Codec.from_pretrained(args.model)
    pools: dict[str, list[float]] = {}
    speech, codes = [], []
    for path in sorted(args.cache.glob("val.*.npz")):
        pool = path.name.split(".")[1]
        with np.load(path) as stored:
            clips = np.split(stored["audio"], np.cumsum(stored["lengths"])[:-1])[: args.files]
        for clip in clips:
            audio = clip.astype(np.float32) / 32767
            encoded = codec.encode(audio, codec.sampling_rate, n_quantizers=args.n_quantizers)
            decoded = codec.decode(encoded)
            codes.append(encoded.codes[0])
            mel = mel_distance(torch.from_numpy(decoded), torch.from_numpy(audio), codec.sampling_rate)
            pools.setdefault(pool, []).append(float(mel))
            if "speech" in pool:
                speech.append(stoi(audio, decoded, codec.sampling_rate))
    for pool, values in pools.items():
        print(f"{pool:12} {len(values):3} files  mel {np.mean(values):.3f}")
    print(f"mean of pools            mel {np.mean([np.mean(v) for v in pools.values()]):.3f}")
    print(f"speech  {len(speech):3} files       STOI {np.mean(speech):.3f}")
    entropies = [_entropy(np.concatenate(codes, 1)[k]) for k in range(codes[0].shape[0])]
    used = [len(np.unique(np.concatenate(codes, 1)[k])) for k in range(codes[0].shape[0])]
    print("codes used  ", *used)
    print("entropy bits", *(f"{e:.2f}" for e in entropies), f"efficiency {np.mean(entropies) / 10:.3f}")


def _entropy(codes: np.ndarray) -> float:
    share = np.bincount(codes) / len(codes)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


if __name__ == "__main__":
    main()
