"""Sources of recordings: files, folders, globs, tars, Parquet files, lists of files; local or at a URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import pyarrow as pa

from dacodec.audio import AUDIO_SUFFIXES
from dacodec.corpus.addresses import Found, find_files
from dacodec.corpus.items import FilePlace, Item, Unlisted
from dacodec.corpus.sources.lists import LIST_SUFFIXES, FileList
from dacodec.corpus.sources.parquet import Parquet
from dacodec.corpus.sources.tars import Tar
from dacodec.errors import InputError

__all__ = ["Sources"]

_IN_FOLDERS = AUDIO_SUFFIXES | {".tar", ".parquet"}


class _Container(Protocol):
    """A file that contains or lists recordings."""

    def fields(self) -> dict[str, pa.DataType]: ...

    def items(self) -> Iterator[Item | Unlisted]: ...


@dataclass(frozen=True)
class Sources:
    """Several sources, taken together.

    Args:
        names: audio files; WebDataset tars; Parquet files; ``.jsonl``, ``.csv`` and ``.tsv`` lists of files; folders
            of these, except lists; globs. Each is a path or a URL that fsspec opens.
        audio_column: of Parquet files and lists; by default found by its name or type.
        whole_keys: keys are whole addresses, not names relative to the source.
    """

    names: Sequence[str]
    audio_column: str | None = None
    whole_keys: bool = False

    def fields(self) -> dict[str, pa.DataType]:
        """The columns that are passed through.

        Raises:
            InputError: if a source is missing or cannot be read, or a column has two types.
        """
        fields: dict[str, pa.DataType] = {}
        for name in self.names:
            for found in self._containers(name):
                for column, kind in self._container(found).fields().items():
                    if fields.setdefault(column, kind) != kind:
                        raise InputError(
                            f"column {column!r} of {found.address} is {kind}, of another source {fields[column]}; "
                            "give them outputs of their own"
                        )
        return fields

    def items(self) -> Iterator[Item | Unlisted]:
        """All recordings, in a fixed order.

        Raises:
            InputError: if a source has no audio.
        """
        items = chain.from_iterable(self._items_of(name) for name in self.names)
        return (replace(item, key=_text(item.key)) for item in items)

    def _items_of(self, name: str) -> Iterator[Item | Unlisted]:
        nothing = True
        for found in map(self._named, find_files(name, _IN_FOLDERS)):
            if _is_container(found.address):
                items: Iterable[Item | Unlisted] = self._container(found).items()
            else:
                items = [Item(found.name, FilePlace(found.address), found.stamp)]
            for item in items:
                nothing = False
                yield item
        if nothing:
            raise InputError(f"there is no audio in {name}")

    def _containers(self, name: str) -> Iterator[Found]:
        """The containers that say which columns there are: of several tars in one source, only the first."""
        seen_tar = False
        for found in filter(lambda f: _is_container(f.address), find_files(name, _IN_FOLDERS)):
            is_tar = _suffix(found.address) == ".tar"
            if not (is_tar and seen_tar):
                yield found
            seen_tar |= is_tar

    def _container(self, found: Found) -> _Container:
        suffix = _suffix(found.address)
        if suffix == ".tar":
            return Tar(found)
        if suffix == ".parquet":
            return Parquet(found, self.audio_column)
        return FileList(found, self.audio_column)

    def _named(self, found: Found) -> Found:
        return found._replace(name=found.address) if self.whole_keys else found


def _is_container(address: str) -> bool:
    return _suffix(address) in {".tar", ".parquet", *LIST_SUFFIXES}


def _suffix(address: str) -> str:
    dot = address.rfind(".")
    return address[dot:].lower() if dot >= 0 else ""


def _text(key: str) -> str:
    """Names, with bytes that are not UTF-8 written out."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
