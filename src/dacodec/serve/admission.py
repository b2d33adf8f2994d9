"""Slots and memory: a request that does not fit is told to retry before any of its body is read."""

from __future__ import annotations

import math
import time
from types import TracebackType

from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem

_WEIGHT = 0.2  # of the newest request in the moving average
_LONGEST_WAIT = 60  # seconds


class Admission:
    """Counts what is in use. Not thread-safe: only the event loop calls it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._mean_seconds = 1.0  # per request, a moving average
        self.requests = self.sessions = self.held_bytes = 0
        self.stopping = False

    def request(self) -> Slot:
        """A slot for a request.

        Raises:
            Problem: if none is free, or the server is stopping.
        """
        self._refuse_if_stopping()
        if self.requests >= self._limits.requests:
            raise self.busy(f"{self.requests} requests are queued or being served")
        self.requests += 1
        return Slot(self)

    def session(self) -> Session:
        """A slot for a stream; raises as :meth:`request`."""
        self._refuse_if_stopping()
        if self.sessions >= self._limits.sessions:
            raise self.busy(f"{self.sessions} streams are open")
        self.sessions += 1
        return Session(self)

    def take(self, n_bytes: int) -> None:
        """Reserve memory; raises as :meth:`Slot.take`."""
        most = self._limits.memory_bytes
        if n_bytes > most:
            raise Problem(
                413,
                "too_large",
                f"this would take {n_bytes} bytes of memory; the limit for all requests together is {most}",
                "send it in parts, or use a stream",
            )
        if self.held_bytes + n_bytes > most:
            raise self.busy(f"other requests hold {self.held_bytes} of {most} bytes; this needs {n_bytes}")
        self.held_bytes += n_bytes

    def done(self, seconds: float) -> None:
        """Record how long a request took."""
        self._mean_seconds += _WEIGHT * (seconds - self._mean_seconds)

    def busy(self, detail: str) -> Problem:
        wait = min(_LONGEST_WAIT, max(1, math.ceil(self._mean_seconds)))
        return Problem(429, "busy", detail, f"try again in {wait} s", wait)

    def _refuse_if_stopping(self) -> None:
        if self.stopping:
            raise Problem(503, "stopping", "the server is shutting down", "try again in a moment", 1)


class Slot:
    """What a request occupies until its response is sent."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self._bytes, self._began, self._open = admission, 0, time.monotonic(), True

    def take(self, n_bytes: int) -> None:
        """Reserve ``n_bytes`` more.

        Raises:
            Problem: if they do not fit beside what other requests hold.
        """
        self._admission.take(n_bytes)
        self._bytes += n_bytes

    def release(self) -> None:
        """Safe to call more than once."""
        if self._open:
            self._open = False
            self._admission.held_bytes -= self._bytes
            self._admission.requests -= 1
            self._admission.done(time.monotonic() - self._began)


class Session:
    """What an open stream occupies: a context manager."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.sessions -= 1
