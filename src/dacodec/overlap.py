"""Work on blocks in two threads: one produces them while the other consumes earlier ones.

The second thread ends with the call or ``with`` block that started it. Whatever ends one side, an error or
Ctrl-C, ends the other at its next block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")

BLOCKS = 2  # most blocks waiting between the threads


@contextmanager
def ahead(blocks: Iterable[T], n: int = BLOCKS) -> Iterator[Iterator[T]]:
    """``blocks``, produced in a thread of its own, at most ``n`` of them ahead.

    An exception of the producer is raised at the consumer, after the earlier blocks. When the ``with`` block
    ends, production stops.
    """
    channel: Channel[T] = Channel(n)
    thread = Thread(target=channel.send_all, args=(blocks,), daemon=True)
    thread.start()
    try:
        yield iter(channel)
    finally:
        channel.hang_up()
        thread.join()


def behind(use: Callable[[Iterator[T]], Result], blocks: Iterable[T], n: int = BLOCKS) -> Result:
    """``use(blocks)``, in a thread of its own, while the blocks are produced here, at most ``n`` of them
    ahead.

    An exception of ``use`` is raised here. If producing blocks fails, ``use`` gets :class:`Broken` from its
    iterator, so that it does not take the blocks so far for the whole.
    """
    channel: Channel[T] = Channel(n)
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(use(iter(channel)))
        except BaseException as error:
            errors.append(error)
        finally:
            channel.hang_up()

    thread = Thread(target=run, daemon=True)
    thread.start()
    ended = False
    try:
        for block in blocks:
            if not channel.send(block):
                break
        ended = True
    finally:
        channel.end(None if ended else Broken())
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Broken(Exception):
    """No more blocks come, and the earlier ones are incomplete."""


class Channel(Generic[T]):
    """A bounded queue from the producing thread to the consuming one."""

    def __init__(self, n: int) -> None:
        self._room = Semaphore(n)
        self._blocks: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._hung_up = False

    def send(self, block: T) -> bool:
        """Waits for room; False if the consumer is gone."""
        if not self._hung_up:
            self._room.acquire()
        if not self._hung_up:
            self._blocks.put((block,))
        return not self._hung_up

    def end(self, error: BaseException | None = None) -> None:
        """Called after the last block, or with the error that came instead of the next."""
        self._blocks.put(error)

    def send_all(self, blocks: Iterable[T]) -> None:
        error = None
        try:
            for block in blocks:
                if not self.send(block):
                    break
        except BaseException as raised:
            error = raised
        self.end(error)

    def hang_up(self) -> None:
        """Called by the consumer: it wants no more blocks."""
        self._hung_up = True
        self._room.release()

    def receive(self, timeout_seconds: float | None = None) -> tuple[T] | None:
        """The next block, in a tuple of its own, or None after the last one.

        Raises:
            queue.Empty: if none comes in time.
        """
        item = self._blocks.get(timeout=timeout_seconds)
        if isinstance(item, BaseException):
            raise item
        if item is not None:
            self._room.release()
        return item

    def __iter__(self) -> Iterator[T]:
        while (item := self.receive()) is not None:
            yield item[0]
