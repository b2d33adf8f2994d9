"""How efficiently codes use their bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class CodebookUse(NamedTuple):
    """Use of each codebook, first to last.

    Args:
        used_share: fraction of its codes that occur.
        entropy_bits: entropy of the codes' distribution.
        efficiency: total entropy as a fraction of the bits used (the paper's bitrate efficiency).
    """

    used_share: list[float]
    entropy_bits: list[float]
    efficiency: float


def codebook_use(codes: Sequence[NDArray[Any]], codebook_size: int) -> CodebookUse:
    """The use of each codebook over ``codes`` [K, F] of several recordings."""
    together = np.concatenate(codes, axis=1)
    counts = np.stack([np.bincount(row, minlength=codebook_size) for row in together])
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return CodebookUse(
        ((counts > 0).mean(1)).round(4).tolist(),
        entropy.round(3).tolist(),
        float(entropy.mean() / np.log2(codebook_size)),
    )
