"""The formats of shards: Parquet, WebDataset tars, or a ``.dacz`` file per row with a Parquet file that lists them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dacodec.corpus.rows import Row, codes_column, codes_of, record, row_of, schema, stacked
from dacodec.encoded import Encoded, Model
from dacodec.errors import ConfigError, DacodecError, FormatError, InputError
from dacodec.files import new_file

_GROUP = 1024  # rows
_COMPONENT = 200  # bytes of one component of a file's name; file systems allow 255

RECORDINGS = "recordings"  # the folder of .dacz files, beside the folder of shards


class Form(Protocol):
    """A format of shards."""

    suffix: str

    def write(self, path: Path, rows: Sequence[Row], fields: Mapping[str, pa.DataType]) -> None:
        """A shard at ``path``, whole or not at all."""
        ...

    def read(self, path: Path, model: Model) -> Iterator[Row]:
        """Its rows. ``model`` made the codes of rows that name no model."""
        ...


class ParquetForm:
    suffix = ".parquet"

    def write(self, path: Path, rows: Sequence[Row], fields: Mapping[str, pa.DataType]) -> None:
        table = _table(rows, fields)
        column = codes_column([stacked(row.encoded) for row in rows])
        write_parquet(path, table.append_column("codes", column).select(schema(fields).names))

    def read(self, path: Path, model: Model) -> Iterator[Row]:
        for batch in read_parquet(path):
            if "codes" not in batch.schema.names:
                raise FormatError(f"{path} has no column of codes")
            records = batch.drop_columns(["codes"]).to_pylist()
            for values, codes in zip(records, codes_of(batch.column("codes")), strict=True):
                yield row_of(values, codes, model)


class TarForm:
    suffix = ".tar"

    def write(self, path: Path, rows: Sequence[Row], fields: Mapping[str, pa.DataType]) -> None:
        with new_file(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for row in rows:
                name, array = sample_name(row.key), io.BytesIO()
                np.save(array, stacked(row.encoded))
                about = json.dumps(record(row), default=str, ensure_ascii=False)
                for suffix, content in ((".npy", array.getvalue()), (".json", about.encode())):
                    info = tarfile.TarInfo(name + suffix)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))

    def read(self, path: Path, model: Model) -> Iterator[Row]:
        try:
            with tarfile.open(path, "r:") as tar:
                arrays: dict[str, Any] = {}
                for member in filter(tarfile.TarInfo.isfile, tar):
                    name, _, suffix = member.name.rpartition(".")
                    if suffix not in ("npy", "json"):
                        continue
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    value = (
                        json.loads(content)
                        if suffix == "json"
                        else np.load(io.BytesIO(content), allow_pickle=False)
                    )
                    other = arrays.pop(name, None)
                    if other is None:
                        arrays[name] = value
                    else:
                        yield row_of(*((value, other) if suffix == "json" else (other, value)), model)
        except (tarfile.TarError, OSError, ValueError) as error:
            if isinstance(error, DacodecError):
                raise
            raise FormatError(f"{path} is not a tar of tokens: {error}") from None


class DaczForm:
    suffix = ".parquet"

    def write(self, path: Path, rows: Sequence[Row], fields: Mapping[str, pa.DataType]) -> None:
        names = [file_name(row.key) + ".dacz" for row in rows]
        for name, row in zip(names, rows, strict=True):
            place = path.parents[1] / RECORDINGS / name
            place.parent.mkdir(parents=True, exist_ok=True)
            row.encoded.save(place, overwrite=True)
        table = _table(rows, fields)
        write_parquet(
            path, table.add_column(1, "file", pa.array([f"{RECORDINGS}/{n}" for n in names], pa.string()))
        )

    def read(self, path: Path, model: Model) -> Iterator[Row]:
        for batch in read_parquet(path):
            for values in batch.to_pylist():
                encoded = Encoded.load(path.parents[1] / values.pop("file"))
                yield row_of(values, stacked(encoded), encoded.model)


FORMS: dict[str, Form] = {"parquet": ParquetForm(), "tar": TarForm(), "dacz": DaczForm()}


def find_form(name: str) -> Form:
    """
    Raises:
        ConfigError: for an unknown name.
    """
    if name not in FORMS:
        raise ConfigError(f"tokens are written as {', '.join(FORMS)}, not as {name!r}")
    return FORMS[name]


def write_parquet(path: Path, table: pa.Table, overwrite: bool = False) -> None:
    """Whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    with new_file(path, overwrite) as file:
        pq.write_table(table, file, row_group_size=_GROUP, compression="zstd")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """
    Raises:
        InputError: if it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(_GROUP, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def file_name(key: str) -> str:
    """A relative path that is unique to ``key``, with what could lead out of a folder escaped."""
    return "/".join(map(_component, key.split("/")))


def sample_name(key: str) -> str:
    """:func:`file_name` without a dot in its last part, where WebDataset ends the name of a sample."""
    folder, slash, name = file_name(key).rpartition("/")
    return folder + slash + name.replace(".", "%2E")


def _component(part: str) -> str:
    part = re.sub(r"[%\\\x00-\x1f\x7f]", lambda m: f"%{ord(m[0]):02X}", part)
    if part in ("", ".", ".."):
        part = part.replace(".", "%2E") or "%"
    encoded = part.encode("utf-8", "surrogateescape")
    if len(encoded) <= _COMPONENT:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: _COMPONENT - 20].decode(errors='ignore')}%~{digest}"


def _table(rows: Iterable[Row], fields: Mapping[str, pa.DataType]) -> pa.Table:
    """The columns of ``rows`` without the codes."""
    records = [record(row) for row in rows]
    kinds = {f.name: f.type for f in schema(fields) if f.name != "codes"}
    return pa.table({name: pa.array([r.get(name) for r in records], kind) for name, kind in kinds.items()})
