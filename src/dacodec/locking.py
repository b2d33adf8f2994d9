"""One process at a time in a folder.

The lock is the operating system's, on a file in the folder, and ends with the process in every case. The text in the
file only says which process holds it.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from pathlib import Path
from typing import TextIO

from dacodec.errors import DacodecError, OutputError

if sys.platform == "win32":
    import msvcrt

    _BEYOND_TEXT = 1 << 20  # a locked byte cannot be read
else:
    import fcntl

LOCK_FILE = ".lock"


def lock(folder: Path, doing: str = "working", failure: type[DacodecError] = OutputError) -> TextIO:
    """An open file in ``folder``: while it is open, no other process gets one.

    If the file system has no locks, like some network file systems, a warning says so.

    Args:
        doing: what the process does there, for the message to another.
        failure: the exception to raise if another process holds it.

    Raises:
        OSError: if the file cannot be written.
    """
    file = (folder / LOCK_FILE).open("a+")
    try:
        _hold(file)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise failure(
            f"{owner} is {doing} in {folder}; wait until it ends, stop it, or choose another folder"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}); make sure that no other run uses it", stacklevel=2
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    return file


def _hold(file: TextIO) -> None:
    if sys.platform == "win32":
        file.seek(_BEYOND_TEXT)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        # Unlike flock's, this lock is not passed on to processes forked by data loaders, which may live longer.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
