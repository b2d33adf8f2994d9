"""Rows of a language model's ids from a pipe, and their audio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import typer

from dacodec.audio import Samples
from dacodec.codec.live import DecoderState, StreamDecoder
from dacodec.errors import RowError
from dacodec.tokens import BadId, Layout, Undelay, UndelayState
from dacodec.tokens.rows import row_from_json

_READ_BYTES = 1 << 16
_LINE_BYTES = 1 << 16


def rows_in(file: BinaryIO, layout: Layout, form: str) -> Iterator[Any]:
    """Rows, some at a time, as they arrive; a RowError as the last item if something is not a row.

    Raises:
        BadParameter: for an unknown form.
    """
    if form == "uint16":
        return _binary_rows(file, layout)
    if form == "json":
        return _json_rows(file)
    raise typer.BadParameter(f"{form!r} is not one of uint16, json", param_hint="--rows")


def _binary_rows(file: BinaryIO, layout: Layout) -> Iterator[Any]:
    size, n_rows, rest = 2 * layout.n_codebooks, 0, b""
    take = getattr(file, "read1", file.read)
    while data := take(_READ_BYTES):
        data = rest + data
        whole = len(data) // size * size
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<u2").reshape(-1, layout.n_codebooks)
            n_rows += whole // size
    if rest:
        yield RowError(f"{len(rest)} bytes are left at the end, a row of {layout.name!r} has {size}", n_rows)


def _json_rows(file: BinaryIO) -> Iterator[Any]:
    n_rows = 0
    while line := file.readline(_LINE_BYTES):
        if not line.strip():
            continue
        try:
            yield [row_from_json(line, n_rows)]
        except RowError as error:
            yield error
            return
        n_rows += 1


class Listener:
    """Rows to audio, up to the first wrong row."""

    def __init__(self, layout: Layout, decoder: StreamDecoder) -> None:
        self._undelay, self._decoder = Undelay(layout), decoder
        self._rows: UndelayState = UndelayState()
        self._signal: DecoderState | None = None
        self.bad: list[BadId] = []
        self.error: RowError | None = None

    def push(self, rows: Any) -> Samples:
        """The audio [1, T] that the next ``rows`` complete; ``error`` is set if one of them is wrong."""
        if isinstance(rows, RowError):
            self.error = rows
            return np.zeros((1, 0), np.float32)
        (codes, state, bad), self.error = self._undelay.push_valid(rows, self._rows)
        self._rows = state
        self.bad += bad
        if not codes.shape[1]:
            return np.zeros((1, 0), np.float32)
        audio, self._signal = self._decoder.push(codes[None], self._signal)
        if state.ended is not None:
            audio = np.concatenate([audio, self.flush()], axis=1)
        return audio

    def flush(self) -> Samples:
        """The remaining audio, [1, T]."""
        signal, self._signal = self._signal, None
        return np.zeros((1, 0), np.float32) if signal is None else self._decoder.flush(signal)
