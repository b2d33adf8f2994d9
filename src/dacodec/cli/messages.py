"""Lines for people. What names in them hold cannot steer the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from dacodec.errors import shown


def say(line: object) -> None:
    """A line on standard output."""
    _write(sys.stdout, shown(line))


def complain(error: object) -> None:
    """A line on standard error."""
    _write(sys.stderr, "dacodec: " + shown(" ".join(str(error).split())))


def _write(file: TextIO, line: str) -> None:
    file.write(line + "\n")  # at once: several threads may tell of something
