"""Places and memory: what does not fit is told to come back, before anything is read of it."""

from __future__ import annotations

import math
import time
from types import TracebackType

from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem

_WEIGHT = 0.2  # of the newest request in the mean
_LONGEST_WAIT = 60


class Admission:
    """Of the event loop's thread alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._mean_seconds = 1.0  # a request takes
        self.requests = self.sessions = self.held_bytes = 0
        self.stopping = False

    def request(self) -> Place:
        """A place for a request.

        Raises:
            Problem: if all are taken, or the server is stopping.
        """
        self._refuse_if_stopping()
        if self.requests >= self._limits.requests:
            raise self.busy(f"{self.requests} requests are waiting or being served")
        self.requests += 1
        return Place(self)

    def session(self) -> Session:
        """A place for a stream; raises as :meth:`request`."""
        self._refuse_if_stopping()
        if self.sessions >= self._limits.sessions:
            raise self.busy(f"{self.sessions} streams are open")
        self.sessions += 1
        return Session(self)

    def take(self, n_bytes: int) -> None:
        if n_bytes > self._limits.memory_bytes:
            raise Problem(
                413,
                "too_large",
                f"this would take {n_bytes} bytes of memory, all requests together may take {self._limits.memory_bytes}",
                "send it in parts, or through the stream",
            )
        if self.held_bytes + n_bytes > self._limits.memory_bytes:
            raise self.busy(f"requests hold {self.held_bytes} bytes, {n_bytes} more are too many")
        self.held_bytes += n_bytes

    def done(self, seconds: float) -> None:
        self._mean_seconds += _WEIGHT * (seconds - self._mean_seconds)

    def busy(self, detail: str) -> Problem:
        wait = min(_LONGEST_WAIT, max(1, math.ceil(self._mean_seconds)))
        return Problem(429, "busy", detail, f"try again in {wait} s", wait)

    def _refuse_if_stopping(self) -> None:
        if self.stopping:
            raise Problem(
                503, "stopping", "the server is about to stop", "try again, at another one if there is", 1
            )


class Place:
    """What a request holds until its response is sent."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self._bytes, self._began, self._open = admission, 0, time.monotonic(), True

    def take(self, n_bytes: int) -> None:
        """Hold ``n_bytes`` more.

        Raises:
            Problem: if they are too many beside what others hold.
        """
        self._admission.take(n_bytes)
        self._bytes += n_bytes

    def give(self, n_bytes: int) -> None:
        self._bytes -= n_bytes
        self._admission.held_bytes -= n_bytes

    def release(self) -> None:
        """Once or more often."""
        if self._open:
            self._open = False
            self.give(self._bytes)
            self._admission.requests -= 1
            self._admission.done(time.monotonic() - self._began)


class Session:
    """What a stream holds while it is open: a context manager."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.sessions -= 1
