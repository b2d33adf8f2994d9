"""Input files with clear errors, and output files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dacodec.errors import InputError, OutputError


def open_input(path: str | os.PathLike[str]) -> BinaryIO:
    """``path``, open for reading.

    Raises:
        InputError: if it is not there or cannot be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def new_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file that appears under ``path`` only when the block ends well.

    Until then it has a hidden name beside ``path``; if the block raises, nothing is left.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is False, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; allow overwriting it, or give another name")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error
    finally:
        with suppress(OSError):  # where nothing could be written, nothing can be removed
            temporary.unlink(missing_ok=True)
