"""Find and open files by path or by URL. fsspec opens the URLs: s3://, gs://, https://, ..."""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import fsspec

from dacodec.errors import DacodecError, InputError


class Found(NamedTuple):
    """A file. ``name`` is its path relative to the source; ``stamp`` changes when the file does."""

    address: str
    name: str
    stamp: str


def is_url(address: str) -> bool:
    return "://" in address


def find_files(source: str, suffixes: frozenset[str]) -> Iterator[Found]:
    """The files of a source, sorted: the file itself, or those in a folder or of a glob that end in ``suffixes``.

    Hidden files and folders, and links to folders, are skipped.

    Raises:
        InputError: if the source does not exist or cannot be listed.
    """
    if source.startswith("file://"):
        source = source[len("file://") :]
    try:
        yield from _find_remote(source, suffixes) if is_url(source) else _find_local(source, suffixes)
    except DacodecError:
        raise
    except Exception as error:  # file systems of fsspec raise anything
        raise InputError(f"cannot list {source}: {explained(error)}") from error


def joined(address: str, name: str) -> str:
    """The address that ``name`` means in the file at ``address``: relative to its folder, if it is relative."""
    if is_url(name) or (not is_url(address) and Path(name).is_absolute()):
        return name
    if is_url(address):
        return posixpath.join(posixpath.dirname(address), name)
    return str(Path(address).parent / name)


@contextmanager
def open_address(address: str) -> Iterator[BinaryIO]:
    """Open for reading; seekable.

    Raises:
        InputError: if it cannot be opened.
    """
    try:
        file: Any = fsspec.open(address, "rb").open() if is_url(address) else Path(address).open("rb")  # noqa: SIM115
    except Exception as error:
        raise InputError(f"cannot read {address}: {explained(error)}") from error
    with file:
        yield file


def stamp_of(address: str) -> str:
    """The stamp of the file at ``address``."""
    if not is_url(address):
        return _local_stamp(os.stat(address))  # noqa: PTH116
    fs, path = fsspec.url_to_fs(address)
    return _remote_stamp(fs.info(path))


def explained(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


# Local


def _find_local(source: str, suffixes: frozenset[str]) -> Iterator[Found]:
    path = Path(source)
    if path.is_dir():
        yield from _below(source, "", suffixes)
    elif path.exists():
        yield Found(source, path.name, _local_stamp(path.stat()))
    elif glob.has_magic(source):
        root = _fixed_part(source, os.sep)
        for match in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207  # any path, absolute ones too
            if Path(match).is_file() and _suffix(match) in suffixes:
                name = Path(match).relative_to(root).as_posix()
                yield Found(match, name, _local_stamp(os.stat(match)))  # noqa: PTH116
    else:
        raise InputError(f"there is no {source}")


def _below(folder: str, name: str, suffixes: frozenset[str]) -> Iterator[Found]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            inner = f"{name}/{entry.name}" if name else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, inner, suffixes)
            elif _suffix(entry.name) in suffixes and entry.is_file():
                yield Found(entry.path, inner, _local_stamp(entry.stat()))


def _local_stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


# Remote


def _find_remote(source: str, suffixes: frozenset[str]) -> Iterator[Found]:
    fs, path = fsspec.url_to_fs(source)
    if glob.has_magic(source) and not fs.exists(path):
        root = _fixed_part(path, "/")
        found = fs.glob(path, detail=True)
        for match in sorted(found):
            if found[match]["type"] != "directory" and _suffix(match) in suffixes:
                yield _remote(fs, match, match[len(root) :].strip("/"), found[match])
    elif fs.isdir(path):
        for parent, folders, files in fs.walk(path, detail=True):
            for name in [n for n in folders if n.startswith(".")]:
                del folders[name]
            for name in sorted(files):
                place = files[name]["name"]
                if _suffix(name) in suffixes and not name.startswith("."):
                    inner = f"{parent[len(path.rstrip('/')) :].strip('/')}/{name}".lstrip("/")
                    yield _remote(fs, place, inner, files[name])
    elif fs.exists(path):
        yield Found(source, posixpath.basename(path), _remote_stamp(fs.info(path)))
    else:
        raise InputError(f"there is no {source}")


def _remote(fs: Any, path: str, name: str, info: Mapping[str, Any]) -> Found:
    return Found(fs.unstrip_protocol(path), name, _remote_stamp(info))


def _remote_stamp(info: Mapping[str, Any]) -> str:
    names = ("ETag", "etag", "md5", "md5Hash", "LastModified", "last_modified", "mtime", "created")
    version = next((str(info[n]) for n in names if info.get(n) is not None), "")
    return f"{info.get('size')} {version}".strip()


def _suffix(name: str) -> str:
    return posixpath.splitext(name.replace(os.sep, "/"))[1].lower()


def _fixed_part(pattern: str, separator: str) -> str:
    """The folder above the first wildcard of a glob."""
    parts = pattern.split(separator)
    n_fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return separator.join(parts[:n_fixed]) or (separator if pattern.startswith(separator) else "")
