"""Statistics of a folder of tokens."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dacodec.corpus.folder import About, failures, shards
from dacodec.corpus.forms import FORMS, read_parquet


@dataclass(frozen=True)
class Usage:
    """How one codebook is used. ``perplexity`` is 2 to the power of the entropy: with equally frequent codes, their number."""

    used: int
    perplexity: float


@dataclass(frozen=True)
class Info:
    about: About
    shards: int
    rows: int
    seconds: float
    tokens: int
    inputs: int
    left_out: int
    failed: dict[str, int]  # by reason
    usage: tuple[Usage, ...]  # of each codebook

    @property
    def hours(self) -> float:
        return self.seconds / 3600


def info(folder: str | os.PathLike[str]) -> Info:
    """Count what is in a folder of tokens; reads all of it.

    Raises:
        InputError, FormatError: if it is not a folder of tokens, or is damaged.
    """
    path = Path(folder)
    about = About.read(path)
    form, paths = FORMS[about.form], shards(path)
    counts = np.zeros((about.n_codebooks, about.model.codebook_size), np.int64)
    n_rows, seconds = 0, 0.0
    for shard in paths:
        for row in form.read(shard, about.model):
            n_rows += 1
            seconds += row.encoded.duration_seconds
            for codes in row.encoded.codes:
                for k, used in enumerate(codes):
                    counts[k] += np.bincount(used, minlength=counts.shape[1])
    batches = [
        b for p in sorted((path / "manifest").glob("part-*.parquet")) for b in read_parquet(p, ["rows"])
    ]
    inputs = [n for batch in batches for n in batch.column("rows").to_pylist()]
    return Info(
        about,
        len(paths),
        n_rows,
        seconds,
        int(counts.sum()),
        len(inputs),
        inputs.count(0),
        dict(Counter(f.reason for f in failures(path)).most_common()),
        tuple(_usage(of_one) for of_one in counts if of_one.any()),
    )


def _usage(counts: np.ndarray) -> Usage:
    share = counts[counts > 0] / counts.sum()
    return Usage(int((counts > 0).sum()), float(2 ** -(share * np.log2(share)).sum()))
