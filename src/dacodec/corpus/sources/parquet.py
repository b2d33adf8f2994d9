"""Parquet files: a column of Hugging Face's audio (bytes and path), of bytes, or of paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dacodec.corpus.addresses import Found, explained, open_address
from dacodec.corpus.items import CellPlace, Item, Unlisted
from dacodec.corpus.sources.columns import passed, path_column
from dacodec.errors import InputError

_ROWS_AT_ONCE = 1024
_UNREADABLE = (pa.ArrowException, OSError, ValueError)


class Parquet:
    """The rows of a Parquet file; columns other than the audio are passed through."""

    def __init__(self, found: Found, audio_column: str | None) -> None:
        self._found, self._wanted = found, audio_column

    def fields(self) -> dict[str, pa.DataType]:
        try:
            with self._opened() as file:
                schema = file.schema_arrow
        except (InputError, *_UNREADABLE):
            return {}  # items() reports it
        audio = self._audio_column(schema)
        return {passed(field.name): _storable(field.type) for field in schema if field.name != audio}

    def items(self) -> Iterator[Item | Unlisted]:
        address, name, stamp = self._found
        try:
            with self._opened() as file:
                audio, n_before = self._audio_column(file.schema_arrow), 0
                for group in range(file.num_row_groups):
                    for row, columns in enumerate(_rows(file, group, audio)):
                        place = CellPlace(address, audio, group, row)
                        yield Item(f"{name}/{n_before + row}", place, stamp, columns=columns)
                    n_before += file.metadata.row_group(group).num_rows
        except (InputError, *_UNREADABLE) as error:
            yield Unlisted(name, address, f"the Parquet file cannot be read: {explained(error)}")

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with open_address(self._found.address) as file:
            yield pq.ParquetFile(file, pre_buffer=False)

    def _audio_column(self, schema: pa.Schema) -> str:
        if self._wanted is not None and self._wanted in schema.names:
            return self._wanted
        found = [f.name for f in schema if _is_audio(f.type)]
        column = found[0] if len(found) == 1 else None
        if not found:
            column = path_column(f.name for f in schema if pa.types.is_string(f.type) or _is_bytes(f.type))
        if column is None or self._wanted is not None:
            raise InputError(
                f"{self._found.address} has {len(found)} columns of audio among {', '.join(schema.names)}; "
                "say which it is (--audio-column)"
            )
        return column


def _rows(file: pq.ParquetFile, group: int, audio: str) -> Iterator[dict[str, Any]]:
    """The columns of each row of a group, except the audio."""
    names = [name for name in file.schema_arrow.names if name != audio]
    if not names:
        yield from ({} for _ in range(file.metadata.row_group(group).num_rows))
        return
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=names):
        yield from ({passed(n): v for n, v in row.items()} for row in batch.to_pylist())


def _is_audio(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"}


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _storable(kind: pa.DataType) -> pa.DataType:
    """The type that plain values of this type are stored as."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
