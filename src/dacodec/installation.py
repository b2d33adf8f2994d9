"""Checks for installations in which this package cannot work."""

from __future__ import annotations

import os

from dacodec.errors import InstallationError


def refuse_zip() -> None:
    """Raise InstallationError if this runs from a zip file."""
    if not os.path.isdir(os.path.dirname(__file__)):  # noqa: PTH112, PTH120  # importing pathlib would take longer
        raise InstallationError(
            f"dacodec cannot run from a zip file ({__file__}): its models and libraries have to be files. "
            "Install it (pip install dacodec), or freeze your program with PyInstaller"
        )
