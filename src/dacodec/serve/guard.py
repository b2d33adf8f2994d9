"""Who may use the service: the API key, Origin and Host checks; also security headers and the time limit for sending.

Browsers let any web site send requests and open WebSockets to any address, including loopback. So a request with an
Origin header must come from this server's own page. On loopback, Host must name this machine, or another site could
point its own name here (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dacodec.serve.problems import PROBLEM_JSON, Problem

PROTOCOL = "dacodec"  # subprotocol of streams; browsers cannot set headers, so the key comes as a second one
KEY_PROTOCOL = "dacodec.key."

_GUARDED = ("/v1/", "/metrics")  # what needs the key; the page is open, and asks for it
_SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self)",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware.

    Args:
        key: the API key that clients must send; None if they need none.
        loopback: whether only this machine can reach the server.
        origins: other web sites whose pages may use the service, such as ``https://example.org``.
        send_seconds: a client that takes longer to accept a piece of a response is disconnected.
    """

    def __init__(
        self, app: ASGIApp, key: str | None, loopback: bool, origins: Iterable[str], send_seconds: float
    ) -> None:
        self._app, self._loopback = app, loopback
        self._key = key.encode() if key else None
        self._origins, self._send_seconds = frozenset(origins), send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        send = self._in_time(scope, _with_headers(send))
        headers = Headers(scope=scope)
        problem = self._problem(scope["path"], headers)
        if problem is not None:
            await refuse(problem, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _problem(self, path: str, headers: Headers) -> Problem | None:
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_split(f"//{host}").hostname or ""):
            return Problem(
                421,
                "wrong_host",
                "the Host header does not name this machine",
                "use http://localhost, or start the server with --host",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and _split(origin).netloc != host:
            return Problem(
                403,
                "other_site",
                "pages of other web sites may not use this server",
                "start the server with --origin for that site",
            )
        if self._key is None or not path.startswith(_GUARDED):
            return None
        if not hmac.compare_digest(_key_in(headers).encode(), self._key):
            return Problem(
                401,
                "key_missing",
                "the API key is missing or wrong",
                "send the header Authorization: Bearer KEY",
            )
        return None

    def _in_time(self, scope: Scope, send: Send) -> Send:
        async def sent(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self._send_seconds)
            except asyncio.TimeoutError:
                connection = scope.get("state", {}).get("connection")
                if connection is not None:
                    connection.abort()

        return sent


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with ``problem``, to a request or to a WebSocket handshake."""
    headers = dict(problem.headers)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    response = JSONResponse(problem.to_json(), problem.status, headers, PROBLEM_JSON)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send(
        {"type": "websocket.http.response.start", "status": problem.status, "headers": response.raw_headers}
    )
    await send({"type": "websocket.http.response.body", "body": response.body})


def _split(url: str) -> SplitResult:
    """An invalid URL has no parts."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _key_in(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return protocol.strip().removeprefix(KEY_PROTOCOL)
    return ""


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            names = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in _SECURITY.items() if k.encode() not in names),
            ]
        await send(message)

    return sent
