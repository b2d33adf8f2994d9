"""Warnings of the command line: a line each, and counted. The same is said once."""

from __future__ import annotations

import threading
import warnings
from typing import Any

_said: set[str] = set()
_lock = threading.Lock()


def install() -> None:
    """From now on, what is warned of becomes lines on standard error."""
    from dacodec.errors import AudioWarning

    warnings.showwarning = _tell
    warnings.simplefilter("always", AudioWarning)


def count() -> int:
    """How many different ones there were of audio files."""
    return len(_said)


def _tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from dacodec.cli.work import complain
    from dacodec.errors import AudioWarning

    if issubclass(category, AudioWarning):
        with _lock:
            if str(message) in _said:
                return
            _said.add(str(message))
    complain(str(message))
