"""Input files with clear errors, and output files that appear whole or not at all and never replace an input.

Until it is complete, an output has a hidden name beside its own: ``.NAME.TOKEN.PID.part``. Its writer holds a
lock on it, so that a killed process's leftovers can be told from what another process is writing, and
removed.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dacodec.errors import InputError, OutputError

if sys.platform != "win32":
    import fcntl

# The token is made of this machine's name and random digits. Names without one are from version 0.1.
_PART = re.compile(r"\..+?(?:\.([0-9a-f]{8})[0-9a-f]{8}|\.(?:dacz|wav|flac|ogg|opus|mp3|pt))\.(\d+)\.part")
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_NAME_LENGTH = 50  # characters of NAME in it: file systems allow 255 bytes
_FOREIGN_SECONDS = 24 * 3600.0  # after which another machine is assumed to have abandoned its file

_swept: set[Path] = set()  # folders, in this process


def open_input(path: str | os.PathLike[str]) -> BinaryIO:
    """``path``, open for reading.

    Raises:
        InputError: if it does not exist or cannot be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def new_file(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    sources: Iterable[str | os.PathLike[str] | int] = (),
) -> Iterator[BinaryIO]:
    """A binary file that appears under ``path`` only when the block ends without an exception.

    Until then it has a hidden name beside ``path``; if the block raises, nothing is left. Leftovers of dead
    processes in that folder are removed.

    Args:
        sources: files, or file descriptors, that it is made from and must not replace, even with
            ``overwrite``.

    Raises:
        OutputError: if ``path`` exists and ``overwrite`` is False, if it is one of the ``sources`` or no regular
            file, or cannot be written.
    """
    path = Path(path)
    for source in sources:
        refuse_same_file(source, path)
    _check_free(path, overwrite)
    sweep(path.parent)
    temporary = None
    try:
        temporary, file = _open_part(path)
        with file:
            yield file
            if path.exists():  # even if the machine crashes, one of the two is whole
                file.flush()
                os.fsync(file.fileno())
        _check_free(path, overwrite)  # it may have appeared meanwhile
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # where nothing could be written, nothing can be removed
                temporary.unlink(missing_ok=True)


def refuse_same_file(source: str | os.PathLike[str] | int, output: str | os.PathLike[str] | int) -> None:
    """Raise OutputError if ``output`` is ``source`` itself, under whatever name; numbers are file descriptors."""
    try:
        same = os.path.samefile(source, output)  # noqa: PTH121  # file descriptors too
    except OSError:  # one of them does not exist
        return
    if same:
        raise OutputError(f"{output} is the input itself, which would be lost; give the output another name")


def _check_free(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a device or a pipe, not a file; give a file name")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} exists; allow overwriting it, or give another name")


# Half-written files


def sweep(folder: Path) -> None:
    """Remove half-written files of dead processes from ``folder``; once per process."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:  # what cannot be read or removed stays
        for entry in [e for e in entries if e.name.endswith(".part")]:
            match = _PART.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_left(Path(entry.path), match[1] or _HOST, int(match[2]))


def _remove_if_left(part: Path, host: str, process: int) -> None:
    if sys.platform == "win32":
        part.unlink()  # fails while it is open
        return
    with part.open("r+b") as file:
        is_free = _lock(file, wait=False)
        if host != _HOST:  # its processes cannot be seen from here, nor always its locks
            gone = time.time() - part.stat().st_mtime > _FOREIGN_SECONDS
        elif process == os.getpid():  # of an earlier process with our id, or of another thread
            gone = is_free
        else:
            gone = not _is_running(process)
        if gone:
            part.unlink()


def _open_part(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked, and its name."""
    while True:
        token = _HOST + secrets.token_hex(4)
        part = path.with_name(f".{path.name[:_NAME_LENGTH]}.{token}.{os.getpid()}.part")
        file = part.open("xb")
        _lock(file)
        if part.exists():
            return part, file
        file.close()  # another process swept between the two calls


def _lock(file: BinaryIO, wait: bool = True) -> bool:
    """Lock ``file`` until it is closed; whether it is certain that nobody else holds it.

    Raises:
        BlockingIOError: if another process holds it, and ``wait`` is False.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            return False
    return True


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
