"""Warnings of the audio readers, for the client whose recording they are about."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dacodec.errors import AudioWarning

T = TypeVar("T")
_MOST = 8

_here = threading.local()


def collecting(call: Callable[[], T], into: list[str]) -> T:
    """``call()``, its warnings appended to ``into``. Works inside :func:`collected`."""
    _here.lines = into
    try:
        return call()
    finally:
        _here.lines = None


@contextmanager
def collected() -> Iterator[None]:
    """A context in which warnings about audio go to the :func:`collecting` call of their thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            lines = getattr(_here, "lines", None)
            if lines is None or not issubclass(category, AudioWarning):
                show(message, category, *rest, **more)
            elif len(lines) < _MOST and str(message) not in lines:
                lines.append(str(message))

        warnings.showwarning = tell
        yield
