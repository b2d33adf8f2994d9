"""Decode training tars once: 44.1 kHz, mono, -16 LUFS, int16, one .npz a tar and pool.

    python scripts/train/prepare.py train_*.tar val.tar --out CACHE

Each tar holds one folder with audio files and a files.tsv that names their pools.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from dacodec.audio import loudness_gain, read, resample
from dacodec.errors import AudioError

RATE = 44100
LOUDNESS_LUFS = -16.0
SHORTEST = RATE // 2  # samples; shorter clips are padded


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tars", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for tar in args.tars:
        prepare(tar, args.out)


def prepare(tar: Path, out: Path) -> None:
    pools = defaultdict(list)
    with tarfile.open(tar) as archive:
        rows = csv.DictReader(
            io.StringIO(_content(archive, f"{tar.stem}/files.tsv").decode()), delimiter="\t"
        )
        for row in rows:
            try:
                pools[row["pool"]].append(clip(_content(archive, f"{tar.stem}/{row['file']}")))
            except AudioError as error:
                print(f"{row['file']}: {error}", file=sys.stderr)
    for pool, clips in pools.items():
        lengths = np.array([len(c) for c in clips])
        np.savez(out / f"{tar.stem}.{pool}.npz", audio=np.concatenate(clips), lengths=lengths)
        print(f"{tar.stem} {pool}: {len(clips)} clips, {lengths.sum() / RATE:.0f} s")


def clip(content: bytes) -> np.ndarray:
    recording = read(io.BytesIO(content))
    mono = resample(recording.samples.mean(0, keepdims=True), recording.sampling_rate, RATE)
    mono = mono * loudness_gain(mono, RATE, LOUDNESS_LUFS)
    mono = mono[0] / max(1.0, np.abs(mono).max())
    return (np.pad(mono, (0, max(0, SHORTEST - len(mono)))) * 32767).astype(np.int16)


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is not a file"
    return file.read()


if __name__ == "__main__":
    main()
