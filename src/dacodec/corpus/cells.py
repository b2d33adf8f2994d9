"""Read single cells of Parquet files in order, without loading a whole row group."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow.parquet as pq

from dacodec.corpus.addresses import joined, open_address
from dacodec.errors import AudioError

_ROWS_AT_ONCE = 16

_thread = threading.local()  # the cursor of each thread


def read_cell(address: str, column: str, group: int, row: int) -> bytes | str:
    """The bytes in a cell, or the address that its path refers to.

    Cheap for ascending rows: each thread continues after the last row it read.

    Raises:
        AudioError: if the cell is empty.
        InputError: if the file cannot be opened.
    """
    cursor: _Cursor | None = getattr(_thread, "cursor", None)
    if cursor is None or not cursor.is_before(address, column, group, row):
        if cursor is not None:
            cursor.close()
        _thread.cursor = cursor = _Cursor(address, column, group)
    try:
        return _content(cursor.go_to(row), address)
    except BaseException:
        _thread.cursor = None
        cursor.close()
        raise


class _Cursor:
    """Moves forward through one column of one row group."""

    def __init__(self, address: str, column: str, group: int) -> None:
        self._place, self._next = (address, column, group), 0
        self._stack = ExitStack()
        file = self._stack.enter_context(open_address(address))
        self._file = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        self._values = self._all()

    def is_before(self, address: str, column: str, group: int, row: int) -> bool:
        return self._place == (address, column, group) and self._next <= row

    def go_to(self, row: int) -> Any:
        while True:
            value = next(self._values)
            self._next += 1
            if self._next > row:
                return value.as_py()

    def close(self) -> None:
        self._file.close()
        self._stack.close()

    def _all(self) -> Iterator[Any]:
        _, column, group = self._place
        for batch in self._file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
            yield from batch.column(0)


def _content(value: Any, address: str) -> bytes | str:
    if isinstance(value, dict):
        path = value.get("path")
        value = value.get("bytes") or (joined(address, path) if path else None)
    elif isinstance(value, str):
        value = joined(address, value)
    if not value:
        raise AudioError("the cell is empty: it has no audio")
    return value
