"""Rows of ids, in any given form, as an array."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.errors import RowError
from dacodec.tokens.layouts import Layout

Ids = NDArray[np.int64]


def as_rows(rows: Any, layout: Layout, n_before: int) -> Ids:
    """``rows`` as int64 [n, K]; errors count from ``n_before``, the rows that came before.

    Raises:
        RowError: for rows whose number of ids is not the layout's number of codebooks, and non-integer ids.
    """
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().numpy()
    array = rows if isinstance(rows, np.ndarray) else _from_list(rows, layout, n_before)
    if array.ndim != 2 or array.shape[1] != layout.n_codebooks:
        raise RowError(
            f"rows of layout {layout.name!r} must be [rows, {layout.n_codebooks} codebooks], got {array.shape}"
            + ("; give one row as row[None]" if array.shape == (layout.n_codebooks,) else ""),
            n_before,
        )
    if array.size and array.dtype.kind not in "iu":
        raise RowError(f"ids must be integers, got {array.dtype}: logits become ids by argmax", n_before)
    return array.astype(np.int64)


def row_from_json(line: str | bytes, number: int) -> list[Any]:
    """The row in a line of JSON.

    Raises:
        RowError: for ``number``, if the line is not a list.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, list):
        raise RowError("not a list of ids in JSON, such as [1, 2, 3] on a line of its own", number)
    return row


def _from_list(rows: Any, layout: Layout, n_before: int) -> NDArray[Any]:
    """Row by row, so that the first that does not fit can be named."""
    arrays = []
    for i, given in enumerate(rows):
        try:
            row = np.asarray(given)
        except ValueError:  # lists of different lengths in it
            raise RowError("a row is a list of integers, got lists in it", n_before + i) from None
        arrays.append(row)
        if row.shape != (layout.n_codebooks,):
            got = f"{len(row)}" if row.ndim == 1 else f"shape {row.shape}"
            raise RowError(
                f"a row of layout {layout.name!r} has {layout.n_codebooks} ids, got {got}", n_before + i
            )
        if row.dtype.kind not in "iu":
            raise RowError(f"ids must be integers, got {row.dtype}", n_before + i)
    return np.stack(arrays) if arrays else np.zeros((0, layout.n_codebooks), np.int64)
