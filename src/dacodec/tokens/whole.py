"""Whole signals to a layout's rows, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dacodec.errors import CodesError
from dacodec.tokens.layouts import Layout, find_layout
from dacodec.tokens.rows import Ids
from dacodec.tokens.undelay import BadId, Codes, Cut, Undelay


class Inverted(NamedTuple):
    codes: Codes  # uint16 [K, F]
    cut: Cut
    bad: tuple[BadId, ...]


def apply(codes: Any, layout: Layout | str, *, end: bool = True) -> Ids:
    """``codes`` as the rows that a language model of this layout is trained on, with a row of ``begin``
    first.

    Args:
        codes: integers [K, F].
        end: whether the signal ends; if not, the rows are a prompt, and ``padding`` marks what is to be
            generated.

    Returns:
        int64 [1 + F + (1 if it ends with an id of its own) + the largest delay, K]

    Raises:
        CodesError: for codes with the wrong number of codebooks, not integers, or out of range.
        ConfigError: for an unknown layout.

    Examples:
        >>> codes = np.arange(18).reshape(9, 2)
        >>> rows = apply(codes, "dia")
        >>> rows.shape
        (19, 9)
        >>> bool((invert(rows, "dia").codes == codes).all())
        True
    """
    layout = find_layout(layout)
    ids = _checked(codes, layout) + np.array(layout.offsets)[:, None]  # [K, F]
    if end and layout.end is not None:
        ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=layout.end)
    n = ids.shape[1]
    rows = np.full((1 + n + layout.max_delay, layout.n_codebooks), layout.padding, np.int64)
    for k, delay in enumerate(layout.delays):
        rows[: 1 + delay, k] = layout.begin
        rows[1 + delay : 1 + delay + n, k] = ids[k]
    return rows


def invert(rows: Any, layout: Layout | str, *, lenient: bool = False) -> Inverted:
    """The codes in ``rows`` [n, K], the inverse of :func:`apply`, with the bad ids and the rows that were
    cut.

    Args:
        rows: integers [n, K].
        layout: a layout, or the name of one.
        lenient: as for :class:`Undelay`.

    Raises:
        RowError: as :meth:`Undelay.push`.
        ConfigError: for an unknown layout.
    """
    undelay = Undelay(layout, lenient=lenient)
    codes, state, bad = undelay.push(rows)
    return Inverted(codes, undelay.flush(state), bad)


def _checked(codes: Any, layout: Layout) -> Ids:
    array = np.asarray(codes.detach().cpu() if hasattr(codes, "detach") else codes)
    if array.ndim != 2 or len(array) != layout.n_codebooks:
        raise CodesError(
            f"codes for layout {layout.name!r} must be [{layout.n_codebooks} codebooks, frames], got {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise CodesError(f"codes must be integers, got {array.dtype}")
    wrong = np.argwhere((array < 0) | (array >= layout.codebook_size))
    if len(wrong):
        k, f = wrong[0].tolist()
        raise CodesError(
            f"code {array[k, f]} at codebook {k}, frame {f} is outside 0..{layout.codebook_size - 1}"
        )
    return array.astype(np.int64)
