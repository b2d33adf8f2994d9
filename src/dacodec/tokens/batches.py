"""Sequences of different lengths as one batch with a mask, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.errors import ConfigError
from dacodec.tokens.rows import Ids


class Batch(NamedTuple):
    """NumPy arrays; ``torch.from_numpy`` shares their memory."""

    ids: Ids  # int64 [B, n] or [B, n, K]
    mask: NDArray[np.bool_]  # [B, n], true where a sequence has ids


def batch(
    sequences: Sequence[Any], padding: int, *, side: Literal["left", "right"] = "right", multiple_of: int = 1
) -> Batch:
    """``sequences`` of ids [n] or of rows [n, K], padded to one length.

    Args:
        padding: the id, as ``layout.padding``.
        side: where padding goes: ``"right"`` to train, ``"left"`` to generate.
        multiple_of: round the length up to a multiple of this.

    Raises:
        ConfigError: if there is no sequence, or they do not fit together.

    Examples:
        >>> batch([[1, 2, 3], [4]], padding=0).ids.tolist()
        [[1, 2, 3], [4, 0, 0]]
    """
    arrays = [np.asarray(s.detach().cpu() if hasattr(s, "detach") else s) for s in sequences]
    shapes = {a.shape[1:] for a in arrays if a.ndim in (1, 2)}
    if len(shapes) != 1 or any(a.ndim not in (1, 2) for a in arrays):
        raise ConfigError("a batch is made of sequences [n], or of rows [n, K] with one K")
    length = -(-max(map(len, arrays)) // multiple_of) * multiple_of
    ids = np.full((len(arrays), length, *shapes.pop()), padding, np.int64)
    mask = np.zeros((len(arrays), length), bool)
    for i, array in enumerate(arrays):
        where = slice(length - len(array), None) if side == "left" else slice(len(array))
        ids[i, where], mask[i, where] = array, True
    return Batch(ids, mask)


def unbatch(ids: Any, mask: Any) -> list[Ids]:
    """The sequences of a batch, the inverse of :func:`batch`."""
    pairs = [np.asarray(a.detach().cpu() if hasattr(a, "detach") else a) for a in (ids, mask)]
    return [row[kept] for row, kept in zip(*pairs, strict=True)]
