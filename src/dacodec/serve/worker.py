"""The one thread that owns the codecs: what waits at the same time is coded together, streams between batches.

A turn is a push of every stream that has one waiting, then offline chunks of about ``turn_seconds`` of audio, first
come, first served. A recording has one chunk waiting at most, and its next one stands behind the others', so neither
a long one nor a fast stream holds up anybody for more than a turn.
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
    """What may go together, and what does it: works to results, in their order."""

    key: Hashable
    run: Callable[[list[Any]], list[Any]]


@dataclass
class _Unit:
    kind: Kind
    work: Any
    seconds: float
    future: Future[Any] = field(default_factory=Future)


class Worker:
    """Start it before use.

    Args:
        turn_seconds: of audio of offline work, all channels together, between two looks at the streams.
        told: of each batch, how many works and seconds of audio; in the worker's thread.
    """

    def __init__(
        self, turn_seconds: float, told: Callable[[int, float], None] = lambda n, seconds: None
    ) -> None:
        self._turn_seconds, self._told = turn_seconds, told
        self._live: deque[_Unit] = deque()
        self._offline: deque[_Unit] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="dacodec-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What waits is not done any more."""
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
        """The result of a stream's push; cancelled if the caller is, unless it has begun."""
        return await self._result(self._live, _Unit(kind, work, 0.0))

    async def offline(self, kind: Kind, work: Any, seconds: float) -> Any:
        """The same of a chunk of ``seconds``, all channels together."""
        return await self._result(self._offline, _Unit(kind, work, seconds))

    async def _result(self, line: deque[_Unit], unit: _Unit) -> Any:
        with self._changed:
            line.append(unit)
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
            self._told(len(same), sum(unit.seconds for unit in same))

    def _run_same(self, units: list[_Unit]) -> None:
        try:
            results = units[0].kind.run([unit.work for unit in units])
        except Exception as error:
            if len(units) == 1:
                units[0].future.set_exception(error)
                return
            for unit in units:  # what is wrong with one is nothing to the others
                self._run_same([unit])
            return
        for unit, result in zip(units, results, strict=True):
            unit.future.set_result(result)
