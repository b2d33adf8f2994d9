"""WebSockets: each stream is a coroutine that waits for a message, has it coded, and sends the answers.

It takes the next message only after that, so a client that sends too fast is slowed down by its own connection.
Results are exactly those of ``Codec.stream_encoder`` and ``stream_decoder``. docs/service.md describes the messages.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from starlette.types import Scope

from dacodec.errors import DacodecError
from dacodec.serve.guard import PROTOCOL, refuse
from dacodec.serve.inbox import Inbox
from dacodec.serve.limits import Limits
from dacodec.serve.messages import Answer, Stream
from dacodec.serve.problems import Problem, problem_of
from dacodec.serve.service import Service, within
from dacodec.serve.stream_decoding import DecodeQuery, make_decoder
from dacodec.serve.stream_encoding import EncodeQuery, Encoder

log = logging.getLogger("dacodec.serve")


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/stream")

    @router.websocket("/encode")
    async def encode(socket: WebSocket, query: Annotated[EncodeQuery, Query()]) -> None:
        await _open(service, socket, lambda: Encoder(service, query))

    @router.websocket("/decode")
    async def decode(socket: WebSocket, query: Annotated[DecodeQuery, Query()]) -> None:
        await _open(service, socket, lambda: make_decoder(service, query))

    return router


async def _open(service: Service, socket: WebSocket, make: Callable[[], Stream]) -> None:
    """Reserve a slot, serve the stream, and close it with what went wrong, if anything."""
    try:
        session = service.admission.session()
    except Problem as problem:
        await _refuse(socket, problem)
        return
    with session:
        try:
            stream = make()
        except (Problem, DacodecError) as error:
            await _refuse(socket, problem_of(error))
            return
        try:
            await within(
                service.limits.session_seconds,
                _serve(service.limits, socket, stream),
                lambda: _too_long(service.limits),
            )
        except WebSocketDisconnect:
            service.metrics.gone.inc()
        except (Problem, DacodecError) as error:
            await _fail(socket, problem_of(error))
        except Exception as error:
            log.exception("a stream failed")
            await _fail(socket, problem_of(error))
        finally:
            stream.close()


async def _serve(limits: Limits, socket: WebSocket, stream: Stream) -> None:
    protocols = socket.scope.get("subprotocols", [])
    await socket.accept(PROTOCOL if PROTOCOL in protocols else None)
    await _send(socket, stream.greeting())
    inbox = Inbox(socket.receive, limits)
    try:
        while not _is_end(message := await inbox.message()):
            async for answer in stream.push(message):
                await _send(socket, answer)
    finally:
        inbox.close()
    async for answer in stream.end():
        await _send(socket, answer)
    await socket.close(1000)


def _is_end(message: bytes | str) -> bool:
    try:
        return isinstance(message, str) and bool(json.loads(message) == {"end": True})
    except (ValueError, RecursionError):
        return False


async def _send(socket: WebSocket, answer: Answer | None) -> None:
    if isinstance(answer, dict):
        await socket.send_text(json.dumps(answer))
    elif answer:
        await socket.send_bytes(answer)


def _too_long(limits: Limits) -> Problem:
    return Problem(
        408, "too_long", f"the limit for a stream is {limits.session_seconds:g} s", "open a new stream"
    )


async def _fail(socket: WebSocket, problem: Problem) -> None:
    """Send the problem, and close with the code of RFC 6455 for a limit, invalid data or an error of our own."""
    code = {408: 1008, 413: 1008, 500: 1011}.get(problem.status, 1007)
    try:
        await _send(socket, problem.to_json())
        await socket.close(code, problem.code)
    except (RuntimeError, WebSocketDisconnect):  # the client is gone
        return


async def _refuse(socket: WebSocket, problem: Problem) -> None:
    scope: Scope = socket.scope
    await refuse(problem, scope, socket.receive, socket.send)
