"""The messages of a stream's client, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import WebSocketDisconnect

from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem


class Inbox:
    """Binary messages that have already arrived are joined, so that a stream that has fallen behind catches up:
    one long push costs much less than many short ones.

    Args:
        receive: gives the next ASGI message.
    """

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._next: asyncio.Future[MutableMapping[str, Any]] | None = None

    async def message(self) -> bytes | str:
        """The next message, or several binary ones as one.

        Raises:
            Problem: if none arrives within ``idle_seconds``.
            WebSocketDisconnect: if the client is gone.
        """
        await asyncio.wait({self._upcoming()}, timeout=self._limits.idle_seconds)
        if not self._upcoming().done():
            raise _too_slow(self._limits)
        first = self._take()
        if isinstance(first, str):
            return first
        parts, n_bytes = [first], len(first)
        while (part := await self._arrived(self._limits.message_bytes - n_bytes)) is not None:
            parts.append(part)
            n_bytes += len(part)
        return b"".join(parts)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _upcoming(self) -> asyncio.Future[MutableMapping[str, Any]]:
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        return self._next

    async def _arrived(self, most_bytes: int) -> bytes | None:
        """The next message if it has arrived, is binary and not too long; otherwise it stays the next one."""
        upcoming = self._upcoming()
        await asyncio.sleep(0)  # lets it take what is in the queue
        if not upcoming.done():
            return None
        data: bytes | None = upcoming.result().get("bytes")
        if data is None or len(data) > most_bytes:
            return None
        self._next = None
        return data

    def _take(self) -> bytes | str:
        message, self._next = self._upcoming().result(), None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data: bytes | str | None = message.get("bytes")
        return data if data is not None else message["text"]


def _too_slow(limits: Limits) -> Problem:
    return Problem(
        408,
        "too_slow",
        f"no message arrived for {limits.idle_seconds:g} s",
        'end the stream with {"end": true}, and open a new one later',
    )
