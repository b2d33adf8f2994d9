"""Messages for people. Names in them are escaped, so that they cannot control the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from dacodec.errors import shown


def say(line: object) -> None:
    """Print a line on standard output."""
    _write(sys.stdout, shown(line))


def complain(error: object) -> None:
    """Print a line on standard error."""
    _write(sys.stderr, "dacodec: " + shown(" ".join(str(error).split())))


def _write(file: TextIO, line: str) -> None:
    file.write(line + "\n")  # in one call: several threads may print
