"""Lines for people. What names in them hold cannot steer the terminal."""

from __future__ import annotations

import sys

from dacodec.errors import shown


def say(line: object) -> None:
    """A line on standard output."""
    print(shown(line))


def complain(error: object) -> None:
    """A line on standard error."""
    print("dacodec: " + shown(" ".join(str(error).split())), file=sys.stderr)
