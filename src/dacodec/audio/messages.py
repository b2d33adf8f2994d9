"""One-line messages for errors with audio files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import soundfile

from dacodec.errors import AudioError

File = str | os.PathLike[str] | BinaryIO


@contextmanager
def explained(doing: str, file: File) -> Iterator[None]:
    """Turns errors inside into an :class:`AudioError` that names the file and the reason."""
    try:
        yield
    except (OSError, ValueError, TypeError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot {doing} {shown(file)}: {reason(error)}") from None


def shown(file: File) -> str:
    """A file's name, made fit for a one-line message."""
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
    if not isinstance(name, str):
        return "the given audio file"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        reason = str(error.error_string).strip().removeprefix("Error : ").rstrip(".")
        if "SF_INFO" in reason:
            return "its header gives an impossible sampling rate, such as 0 Hz"
        return f"libsndfile: {reason}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name a file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
