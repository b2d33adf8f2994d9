"""Receiving bodies, sending responses, and noticing when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dacodec.serve.admission import Slot
from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem
from dacodec.serve.service import within

T = TypeVar("T")

_PIECE = 1 << 16  # bytes sent at once: how much a slow client may leave in buffers


class Disconnected(Exception):
    """The client has closed the connection; nobody would read a response."""


async def received(request: Request, limits: Limits, slot: Slot) -> bytes:
    """The body.

    Raises:
        Problem: if it is too large, whether or not Content-Length says so, or too slow.
        Disconnected: if the client goes before it is complete.
    """
    claimed = request.headers.get("content-length")
    if claimed is not None and int(claimed) > limits.body_bytes:
        raise _too_large(limits)
    try:
        return await within(
            limits.body_seconds, _received(request, limits, slot, claimed), lambda: _too_slow(limits)
        )
    except ClientDisconnect:
        raise Disconnected from None


async def _received(request: Request, limits: Limits, slot: Slot, claimed: str | None) -> bytes:
    held = 0 if claimed is None else int(claimed)
    slot.take(held)
    parts, n_bytes = [], 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > limits.body_bytes:
            raise _too_large(limits)
        if n_bytes > held:
            slot.take(n_bytes - held)
            held = n_bytes
        parts.append(part)
    if not n_bytes:
        raise Problem(
            400, "empty", "the request has no body", "send the file as the body: curl --data-binary @FILE"
        )
    return b"".join(parts)


async def while_connected(request: Request, limits: Limits, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client disconnects, or after ``request_seconds``.

    Raises:
        Disconnected: if the client does.
        Problem: if it takes too long.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=limits.request_seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise Disconnected
        raise Problem(
            503,
            "took_too_long",
            f"coding took longer than {limits.request_seconds:g} s",
            "send it in parts, or try again when the server is less busy",
            10,
        )
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.wait({task, gone})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Sent(Response):
    """A file, sent in pieces, so that the time limit of ``guard`` applies to each. Frees the slot at the end."""

    def __init__(
        self, content: bytes | memoryview, media_type: str, headers: dict[str, str], slot: Slot
    ) -> None:
        super().__init__(None, media_type=media_type, headers=headers)
        self._content, self._slot = memoryview(content), slot
        self.headers["content-length"] = str(len(self._content))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            for start in range(0, len(self._content), _PIECE):
                piece = bytes(self._content[start : start + _PIECE])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._slot.release()


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413,
        "too_large",
        f"the body is larger than {limits.body_bytes} bytes",
        "send it in parts, compress it to FLAC, or use a stream",
    )


def _too_slow(limits: Limits) -> Problem:
    return Problem(
        408,
        "too_slow",
        f"the body did not arrive within {limits.body_seconds:g} s",
        "send it in parts, or compress it to FLAC",
    )
