"""What entropy coding saves on a model's codes: python scripts/prior/report.py CODES.npz PRIOR [--frames 88 861]

CODES.npz is written by scripts/prior/fit.py --codes CODES.npz --codes-only, from audio that the prior was not fitted to. The clips are
concatenated, like a recording of many sounds. For each codebook: order-0 entropy of these codes; ideal length under the
prior; segments as written, with their part of the tables; all in bits per code.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from dacodec.container import Header, Reader, Writer, peel, read_prior
from dacodec.container.entropy import decisions


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("codes", type=Path)
    parser.add_argument("prior", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[88, 856])
    parser.add_argument("--model-sampling-rate", type=int, default=44100)
    parser.add_argument("--hop-length", type=int, default=512)
    args = parser.parse_args()
    codes, prior = np.load(args.codes)["codes"], read_prior(args.prior)
    entropies = [entropy(row) for row in codes]
    for frames in args.frames:
        header = Header(
            "report",
            bytes(32),
            args.model_sampling_rate,
            args.hop_length,
            1 << prior.width,
            len(codes),
            args.model_sampling_rate,
            1,
            0,
            packet_frames=frames,
            prior_id=prior.id,
        )
        raw_header = Header(**{**vars(header), "prior_id": None})
        coded, raw = sizes(header, codes, prior), sizes(raw_header, codes, None)
        ideal = ideal_bits(prior, codes, frames)
        print(f"packets of {frames} frames, {codes.shape[1]} frames in all")
        print("codebook  raw  order-0  ideal  written  saved of the file up to it")
        n_codes = codes.shape[1]
        for k in range(len(codes)):
            written = (coded[k] - (coded[k - 1] if k else 0)) * 8 / n_codes
            if k == 0:
                written -= (raw[0] * 8 - prior.width * n_codes) / n_codes  # heads, CRCs, header
            saved = 1 - coded[k] / raw[k]
            print(
                f"{k:8} {prior.width:4} {entropies[k]:8.3f} {ideal[k]:6.3f} {written:8.3f} {100 * saved:9.2f} %"
            )


def entropy(codes: np.ndarray) -> float:
    """Bits per code of order 0, as if the statistics were known."""
    counts = np.bincount(codes)
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def ideal_bits(prior, codes: np.ndarray, frames: int) -> np.ndarray:
    """Bits per code [K] of an ideal coder, over whole packets."""
    n_packets = codes.shape[1] // frames
    whole = codes[: prior.n_codebooks, : n_packets * frames].reshape(-1, n_packets, frames)
    bits, p = decisions(prior, whole, channels=1)
    lengths = -np.log2(np.where(bits == 1, p / 65536, 1 - p / 65536))
    return lengths.sum(axis=(1, 2)) / (n_packets * frames)


def sizes(header: Header, codes: np.ndarray, prior) -> list[int]:
    """Bytes of the file with 1, 2, ... codebooks."""
    file = io.BytesIO()
    with Writer(file, header, prior=prior) as writer:
        writer.write(codes[None])
    file.seek(0)
    assert np.array_equal(Reader(file, prior=prior).read_codes()[0], codes)
    lengths = []
    for k in range(1, len(codes) + 1):
        file.seek(0)
        output = io.BytesIO()
        peel(file, output, k)
        lengths.append(len(output.getvalue()))
    return lengths


if __name__ == "__main__":
    main()
