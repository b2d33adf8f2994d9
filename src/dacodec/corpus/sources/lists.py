"""Lists of files: JSONL, CSV, TSV. Paths in them are relative to the list."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dacodec.corpus.addresses import Found, explained, joined, open_address, stamp_of
from dacodec.corpus.items import FilePlace, Item, Unlisted
from dacodec.corpus.sources.columns import passed, path_column
from dacodec.errors import DacodecError, InputError

LIST_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")

_START_COLUMNS = ("start", "start_seconds", "offset")
_DURATION_COLUMNS = ("duration", "duration_seconds")
_KINDS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


class FileList:
    """A list of recordings, one per line. A line with a start is a part of its file, as long as its duration. Without a
    start, the duration is passed through: such durations are often rounded, and would cut the recording short."""

    def __init__(self, found: Found, audio_column: str | None) -> None:
        self._found, self._wanted = found, audio_column

    def fields(self) -> dict[str, pa.DataType]:
        """The columns of all lines: strings for CSV; for JSON a type that holds all values, or strings of JSON."""
        kinds: dict[str, set[type]] = {}
        audio = None
        for line in self._lines():
            if isinstance(line, ValueError):
                continue
            audio = audio or self._audio_column(line)
            for name, value in line.items():
                kinds.setdefault(name, set()).add(_kind(value))
        if not kinds:
            raise InputError(f"no line of {self._found.address} is a recording")
        return {passed(name): _common(kinds[name]) for name in kinds if name != audio}

    def items(self) -> Iterator[Item | Unlisted]:
        fields, stamps = self.fields(), {}
        for number, line in enumerate(self._lines(), start=1):
            key, place = f"{self._found.name}, line {number}", self._found.address
            try:
                if isinstance(line, ValueError):
                    raise line
                path = line.get(self._audio_column(line))
                if not isinstance(path, str) or not path:
                    raise ValueError("it names no file")
                address = joined(self._found.address, path)
                start, duration = _part(line)
                if address not in stamps:
                    stamps = {address: stamp_of(address)}  # lines of one file mostly follow one another
            except (ValueError, DacodecError) as error:
                yield Unlisted(key, place, str(error))
                continue
            except Exception as error:
                yield Unlisted(key, place, f"cannot read {address}: {explained(error)}")
                continue
            columns = {name: _as(line.get(_own(name, line)), kind) for name, kind in fields.items()}
            yield Item(
                _key(path, start, duration), FilePlace(address), stamps[address], start, duration, columns
            )

    def _lines(self) -> Iterator[dict[str, Any] | ValueError]:
        with open_address(self._found.address) as file:
            text = io.TextIOWrapper(file, "utf-8-sig", newline="")
            try:
                if self._found.address.lower().endswith(("sv",)):
                    yield from _separated(text, "\t" if self._found.address.lower().endswith(".tsv") else ",")
                else:
                    yield from map(_object, filter(str.strip, text))
            except (UnicodeDecodeError, csv.Error) as error:
                raise InputError(f"cannot read {self._found.address}: {error}") from None

    def _audio_column(self, line: dict[str, Any]) -> str:
        column = self._wanted if self._wanted in line else path_column(line)
        if column is None:
            raise InputError(
                f"no column of {self._found.address} is known to hold paths: {', '.join(line)}; "
                "say which it is (--audio-column)"
            )
        return column


def _separated(text: io.TextIOWrapper, delimiter: str) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(text, delimiter=delimiter):
        row.pop(None, None)  # more fields than columns
        yield row


def _object(line: str) -> dict[str, Any] | ValueError:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else ValueError("it is not a JSON object")


def _part(line: dict[str, Any]) -> tuple[float | None, float | None]:
    start = _seconds(line, _START_COLUMNS)
    return (None, None) if start is None else (start, _seconds(line, _DURATION_COLUMNS))


def _seconds(line: dict[str, Any], names: tuple[str, ...]) -> float | None:
    value = next((line[name] for name in names if line.get(name) not in (None, "")), None)
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a time in seconds")
    return seconds


def _key(path: str, start: float | None, duration: float | None) -> str:
    if start is None:
        return path
    return f"{path}@{start:.12g}" + ("" if duration is None else f"+{duration:.12g}")


def _kind(value: Any) -> type:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return object
    return type(value) if type(value) in (*_KINDS, type(None)) else object


def _common(kinds: set[type]) -> pa.DataType:
    some = kinds - {type(None)}
    if some == {int, float}:
        return pa.float64()
    return _KINDS.get(next(iter(some)), pa.string()) if len(some) == 1 else pa.string()


def _as(value: Any, kind: pa.DataType) -> Any:
    if value is None or (kind == pa.string() and isinstance(value, str)):
        return value
    return json.dumps(value) if kind == pa.string() else float(value) if kind == pa.float64() else value


def _own(name: str, line: dict[str, Any]) -> str:
    """The name in the list of a column that is passed through as ``name``."""
    return name if name in line else name.removeprefix("source_")
