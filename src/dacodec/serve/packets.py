"""Packets of a ``.dacz`` stream that arrives in messages, each as soon as it is complete.

The container's reader pulls bytes, while messages are pushed. So the reader runs in a thread of its own, which ends with
the stream and reports when it has used up its input.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

from dacodec.container import Header, Packet, Reader

_AHEAD = 16


class _Hungry:
    """The reader needs more bytes."""


class _Ended:
    """There are no more packets."""


class _Messages:
    """Messages as a file to read from. Reading blocks until the next one."""

    def __init__(self, hungry: Any) -> None:
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = memoryview(b"")
        self._ended, self._hungry = False, hungry

    def put(self, data: bytes) -> None:
        """Add a message; an empty one is the end."""
        self._messages.put(data)

    def read(self, n: int = -1) -> bytes:
        if n == 0:
            return b""
        if not self._rest and not self._ended:
            self._hungry()
            self._rest = memoryview(self._messages.get())
            self._ended = not self._rest
        taken, self._rest = self._rest[:n], self._rest[n:]
        return bytes(taken)

    def seekable(self) -> bool:
        return False


class PacketStream:
    """Used from the event loop. :meth:`close` ends the reader's thread.

    The reader is at most ``_AHEAD`` packets ahead: a small message may hold a great many codes.

    Attributes:
        reader: None until the header has arrived.
    """

    def __init__(self, conceal: bool) -> None:
        self.reader: Reader | None = None
        self._conceal = conceal
        self._room, self._closed = threading.Semaphore(_AHEAD), False
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[Packet | BaseException | type[_Hungry] | type[_Ended]] = asyncio.Queue()
        self._given = _Messages(lambda: self._report(_Hungry))
        self._thread = threading.Thread(target=self._read, name="dacodec-packets", daemon=True)
        self._thread.start()
        self._fed = False

    @property
    def header(self) -> Header | None:
        return None if self.reader is None else self.reader.header

    async def push(self, data: bytes) -> AsyncIterator[Packet]:
        """The packets that ``data`` completes. Empty ``data`` ends the stream.

        Raises:
            FormatError, PriorError: if the stream breaks the format.
        """
        if not self._fed:
            self._fed = True
            await self._found.get()  # the reader is hungry at first
        self._given.put(data)
        while (found := await self._found.get()) is not _Hungry:
            if isinstance(found, Packet):
                self._room.release()
                yield found
            elif isinstance(found, BaseException):
                self._report_again(found)
                raise found
            else:
                self._report_again(found)
                return

    def close(self) -> None:
        self._closed = True
        self._given.put(b"")
        self._room.release()

    def _report_again(self, found: Any) -> None:
        """For the next push."""
        self._found.put_nowait(found)

    def _report(self, found: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._found.put_nowait, found)
        except RuntimeError:  # the event loop is closed
            self._given.put(b"")

    def _read(self) -> None:
        try:
            self.reader = Reader(self._given, conceal=self._conceal)
            for packet in self.reader:
                self._room.acquire()
                if self._closed:
                    return
                self._report(packet)
            self._report(_Ended)
        except Exception as error:
            self._report(error)
