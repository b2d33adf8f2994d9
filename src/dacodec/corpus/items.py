"""The inputs: recordings, each with a key, the place of its bytes, and the columns that come with it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from dacodec.corpus.addresses import is_url, open_address
from dacodec.corpus.cells import read_cell


@dataclass(frozen=True)
class FilePlace:
    """A file of its own."""

    address: str

    @contextmanager
    def open(self) -> Iterator[str | BinaryIO]:
        """What :class:`~dacodec.audio.AudioReader` reads."""
        if not is_url(self.address):
            yield self.address
            return
        with open_address(self.address) as file:
            yield file


@dataclass(frozen=True)
class MemberPlace:
    """A member of a tar: a range of bytes."""

    address: str
    name: str
    offset: int
    size: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        with open_address(self.address) as file:
            yield io.BufferedReader(_Part(file, self.offset, self.size, f"{self.address}/{self.name}"))


@dataclass(frozen=True)
class CellPlace:
    """A value in a column of a Parquet file: the bytes of a recording, or a path to them."""

    address: str
    column: str
    group: int  # of rows
    row: int  # in the group

    @contextmanager
    def open(self) -> Iterator[str | BinaryIO]:
        value = read_cell(self.address, self.column, self.group, self.row)
        if isinstance(value, str):
            with FilePlace(value).open() as file:
                yield file
        else:
            yield _Bytes(value, f"{self.address}, {self.column} of row {self.row} in group {self.group}")


Place = FilePlace | MemberPlace | CellPlace


@dataclass(frozen=True)
class Item:
    """A recording, or a part of one.

    Args:
        key: its unique name in the tokens.
        place: where its bytes are.
        stamp: changes when the input does.
        start_seconds, duration_seconds: the part to code; None for all of it.
        columns: those that are passed through.
    """

    key: str
    place: Place
    stamp: str
    start_seconds: float | None = None
    duration_seconds: float | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unlisted:
    """Something in a source that should have been one item or more, but cannot be read."""

    key: str
    address: str
    reason: str


class _Bytes(io.BytesIO):
    """Bytes with a name, for messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Part(io.RawIOBase):
    """``size`` bytes of a file from ``offset`` on."""

    def __init__(self, file: BinaryIO, offset: int, size: int, name: str) -> None:
        self._file, self._offset, self._size, self.name = file, offset, size, name
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        n = min(len(buffer), max(0, self._size - self._position))
        self._file.seek(self._offset + self._position)
        data = self._file.read(n)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
