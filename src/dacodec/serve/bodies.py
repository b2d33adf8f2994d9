"""The bytes of requests in, of responses out, and whether the client is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dacodec.serve.admission import Place
from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem
from dacodec.serve.service import within

T = TypeVar("T")

_PIECE = 1 << 16  # bytes of a response at once: what a slow client may leave in buffers


class Gone(Exception):
    """The client went away; nobody reads what would be said."""


async def received(request: Request, limits: Limits, place: Place) -> bytes:
    """The body.

    Raises:
        Problem: if it is larger than the limits, whether its head says so or not, or too slow.
        Gone: if the client ends before it.
    """
    claimed = request.headers.get("content-length")
    if claimed is not None and int(claimed) > limits.body_bytes:
        raise _too_large(limits)
    try:
        return await within(
            limits.body_seconds, _received(request, limits, place, claimed), lambda: _too_slow(limits)
        )
    except ClientDisconnect:
        raise Gone from None


async def _received(request: Request, limits: Limits, place: Place, claimed: str | None) -> bytes:
    held = 0 if claimed is None else int(claimed)
    place.take(held)
    parts, n_bytes = [], 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > limits.body_bytes:
            raise _too_large(limits)
        if n_bytes > held:
            place.take(n_bytes - held)
            held = n_bytes
        parts.append(part)
    if not n_bytes:
        raise Problem(
            400, "empty", "the request has no body", "send the file as the body: --data-binary @FILE"
        )
    return b"".join(parts)


async def while_there(request: Request, limits: Limits, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; it is cancelled when the client goes, or after ``request_seconds``."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=limits.request_seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise Gone
        raise Problem(
            503,
            "took_too_long",
            f"it was not coded within {limits.request_seconds:g} s",
            "send it in parts, or when the server has less to do",
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
    """A file, piece by piece, so that a client that does not take it is found out; its place is free afterwards."""

    def __init__(
        self, content: bytes | memoryview, media_type: str, headers: dict[str, str], place: Place
    ) -> None:
        super().__init__(None, media_type=media_type, headers=headers)
        self._content, self._place = memoryview(content), place
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
            self._place.release()


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413,
        "too_large",
        f"the body is larger than {limits.body_bytes} bytes",
        "send it in parts, or compressed, as FLAC, or through the stream",
    )


def _too_slow(limits: Limits) -> Problem:
    return Problem(
        408,
        "too_slow",
        f"the body was not there within {limits.body_seconds:g} s",
        "send it in parts, or compressed, as FLAC",
    )
