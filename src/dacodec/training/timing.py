"""What a run does when, and signals that ask it to end."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any


class Clock:
    """Remembers when things were last done."""

    def __init__(self) -> None:
        self._lap = time.monotonic()
        self._done: dict[str, float] = {}

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self._lap = self._lap, time.monotonic()
        return max(1e-9, self._lap - before)

    def due(self, what: str, every_minutes: float, now_minutes: float) -> bool:
        """Whether ``what`` is due again; ``now_minutes`` comes from the first process, so that all agree."""
        if now_minutes - self._done.setdefault(what, now_minutes) < every_minutes:
            return False
        self._done[what] = now_minutes
        return True


class StopSignals:
    """Remembers that the run was asked to end, instead of ending at once."""

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: Any) -> None:
        if self.received:
            raise KeyboardInterrupt  # second request: end at once
        self.received = signal.Signals(number).name
