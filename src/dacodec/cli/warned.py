"""Warnings on the command line: one line each, without repetitions; those about audio are counted."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from dacodec.cli.messages import complain

_said: dict[str, bool] = {}  # each line, and whether it is about an audio file
_lock = threading.Lock()


def install() -> None:
    """From now on, print warnings as lines on standard error."""
    from dacodec.errors import AudioWarning

    _said.clear()
    warnings.showwarning = _tell
    warnings.simplefilter("always", AudioWarning)


def count() -> int:
    """The number of different warnings about audio files."""
    return sum(_said.values())


def _tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from dacodec.errors import AudioWarning

    line = str(message)
    with _lock:
        if line in _said:
            return
        _said[line] = issubclass(category, AudioWarning)
    complain(line)
