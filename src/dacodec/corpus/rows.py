"""Rows of tokens: in memory, in Arrow, and as JSON with an array.

Shapes: C channels, K codebooks in use, F frames. ``codes`` of a row are [C·K, F]: the codebooks of one channel, then those
of the next; plain lists of lists, which any reader of Parquet understands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dacodec.corpus.sources.columns import OWN_COLUMNS
from dacodec.encoded import Encoded, Model
from dacodec.errors import FormatError


@dataclass(frozen=True)
class Row:
    """``start_seconds`` is its place in the recording; ``columns`` are those passed through."""

    key: str
    encoded: Encoded
    start_seconds: float = 0.0
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The result of an item: its rows, or why there are none."""

    key: str
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    left_out: str | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()


def schema(fields: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of rows with these columns passed through."""
    return pa.schema([*OWN_COLUMNS.items(), *fields.items()])


def record(row: Row) -> dict[str, Any]:
    """All columns but the codes."""
    encoded = row.encoded
    return {
        "key": row.key,
        "n_samples": encoded.n_samples,
        "sampling_rate": encoded.sampling_rate,
        "channels": encoded.n_channels,
        "n_codebooks": encoded.n_codebooks,
        "duration": encoded.duration_seconds,
        "start_seconds": row.start_seconds,
        "gain": encoded.gain,
        "mid_side": encoded.mid_side,
        "model": encoded.model.name,
        "fingerprint": encoded.model.fingerprint.hex(),
        **row.columns,
    }


def stacked(encoded: Encoded) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """[C·K, F]."""
    return encoded.codes.reshape(-1, encoded.n_frames)


def row_of(values: Mapping[str, Any], codes: Any, model: Model, own_only: bool = False) -> Row:
    """The row with these columns and codes [C·K, F]. That ``model`` made them is not checked here.

    Args:
        own_only: leave out the columns passed through.

    Raises:
        FormatError: if they do not fit together.
    """
    try:
        channels = int(values.get("channels", 1))
        codes = np.asarray(codes)
        if codes.ndim != 2 or not len(codes) or len(codes) % channels or codes.dtype.kind not in "iu":
            raise ValueError(f"its codes are {codes.dtype} {list(codes.shape)} for {channels} channels")
        if codes.size and not 0 <= codes.min() <= codes.max() < model.codebook_size:
            raise ValueError(f"one of its codes is outside 0..{model.codebook_size - 1}")
        rate = int(values.get("sampling_rate", model.sampling_rate))
        encoded = Encoded(
            codes.astype(np.uint16).reshape(channels, -1, codes.shape[1]),
            rate,
            int(values.get("n_samples", codes.shape[1] * model.hop_length * rate // model.sampling_rate)),
            Model(
                str(values.get("model", model.name)),
                bytes.fromhex(values.get("fingerprint", model.fingerprint.hex())),
                model.sampling_rate,
                model.hop_length,
                model.codebook_size,
            ),
            float(values.get("gain", 1.0)),
            bool(values.get("mid_side", False)),
        )
        columns = {} if own_only else {n: v for n, v in values.items() if n not in OWN_COLUMNS}
        return Row(str(values["key"]), encoded, float(values.get("start_seconds", 0.0)), columns)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise FormatError(f"row {values.get('key')!r} is not a row of tokens: {error}") from None


def codes_column(codes: Sequence[np.ndarray[Any, Any]]) -> pa.Array:
    """Arrays [K, F] as a column of lists of lists, without a Python object per code."""
    inner = np.concatenate([np.zeros(1, int), *(np.full(len(c), c.shape[1]) for c in codes)]).cumsum()
    outer = np.cumsum([0, *(len(c) for c in codes)])
    flat = np.concatenate([np.zeros(0, np.uint16), *(np.ravel(c) for c in codes)])
    lists = pa.ListArray.from_arrays(pa.array(inner, pa.int32()), pa.array(flat, pa.uint16()))
    return pa.ListArray.from_arrays(pa.array(outer, pa.int32()), lists)


def codes_of(column: pa.Array) -> Iterator[np.ndarray[Any, Any]]:
    """The inverse of :func:`codes_column`.

    Raises:
        FormatError: if it is not such a column, or the codebooks of a row differ in length.
    """
    kind = column.type
    if not (_is_list(kind) and _is_list(kind.value_type) and pa.types.is_integer(kind.value_type.value_type)):
        raise FormatError(f"codes must be lists of lists of integers, got {kind}")
    for row in column:
        lists = row.values
        if lists is None or lists.null_count:
            raise FormatError("a row has no codes")
        lengths = set(lists.value_lengths().to_pylist())
        if len(lengths) > 1:
            raise FormatError(f"the codebooks of one row have different numbers of codes, {sorted(lengths)}")
        flat = lists.flatten()
        if flat.null_count:
            raise FormatError("a code is missing")
        yield flat.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
