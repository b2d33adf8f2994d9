"""The one thread that runs the codecs. Whatever is queued is coded together, live streams between offline batches.

A turn is one push of every stream that has one queued, then offline chunks worth about ``turn_seconds`` of audio, first
come, first served. A recording has at most one chunk in the queue; its next one goes to the end. So recordings share the
engine chunk by chunk, and neither a long recording nor a fast stream delays anyone by more than a turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """Work with equal ``key`` can be coded together: ``run`` takes a list of it and returns the results in order."""

    key: Hashable
    run: Callable[[list[Any]], list[Any]]


@dataclass
class _Unit:
    kind: Kind
    work: Any
    seconds: float
    future: Future[Any] = field(default_factory=Future)


class Worker:
    """Call :meth:`start` before use.

    Args:
        turn_seconds: offline audio per turn, summed over channels.
        on_batch: called in the worker's thread after each batch, with its size and its seconds of audio.
    """

    def __init__(
        self, turn_seconds: float, on_batch: Callable[[int, float], None] = lambda n, seconds: None
    ) -> None:
        self._turn_seconds, self._on_batch = turn_seconds, on_batch
        self._live: deque[_Unit] = deque()
        self._offline: deque[_Unit] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="dacodec-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the current batch. Queued work is dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        return len(self._live) + len(self._offline)

    async def live(self, kind: Kind, work: Any) -> Any:
        """The result of a stream's push. Cancelling the caller removes it from the queue, unless it has begun."""
        return await self._result(self._live, _Unit(kind, work, 0.0))

    async def offline(self, kind: Kind, work: Any, seconds: float) -> Any:
        """The same for a chunk of a recording: ``seconds`` of audio, summed over channels."""
        return await self._result(self._offline, _Unit(kind, work, seconds))

    async def _result(self, queue: deque[_Unit], unit: _Unit) -> Any:
        with self._changed:
            queue.append(unit)
            self._changed.notify()
        return await asyncio.wrap_future(unit.future)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._live or self._offline)
                if self._stopped:
                    return
                live = [self._live.popleft() for _ in range(len(self._live))]
                offline = self._slice()
            for units in (live, offline):
                self._run([unit for unit in units if unit.future.set_running_or_notify_cancel()])

    def _slice(self) -> list[_Unit]:
        units: list[_Unit] = []
        while self._offline and sum(unit.seconds for unit in units) < self._turn_seconds:
            units.append(self._offline.popleft())
        return units

    def _run(self, units: list[_Unit]) -> None:
        kinds: dict[Hashable, list[_Unit]] = {}
        for unit in units:
            kinds.setdefault(unit.kind.key, []).append(unit)
        for same in kinds.values():
            self._run_same(same)
            self._on_batch(len(same), sum(unit.seconds for unit in same))

    def _run_same(self, units: list[_Unit]) -> None:
        try:
            results = units[0].kind.run([unit.work for unit in units])
        except Exception as error:
            if len(units) == 1:
                units[0].future.set_exception(error)
                return
            for unit in units:  # one by one, so that only the bad one fails
                self._run_same([unit])
            return
        for unit, result in zip(units, results, strict=True):
            unit.future.set_result(result)
