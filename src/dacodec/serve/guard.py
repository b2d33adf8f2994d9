"""Who may come in: a key, the server's own name, no other web site; and what leaves, in time and with headers.

Browsers let any site send requests to any address, loopback too, and open WebSockets there. So a request that says
where it is from (Origin) must be from the page of this server, and on loopback the name it asks for (Host) must be of
loopback, or another site could make its name mean this machine.
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

PROTOCOL = "dacodec"  # of the streams; a browser cannot set headers, so its key comes as another protocol
KEY_PROTOCOL = "dacodec.key."

_OPEN = ("/healthz", "/readyz", "/openapi.json")  # without a key; and the page, which asks for it
_SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self)",
}


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware.

    Args:
        key: that clients must have; None for none.
        loopback: whether the server can be reached from this machine only.
        origins: of web sites that may use the service besides its own page, such as ``https://example.org``.
        send_seconds: a client that does not take a piece of a response for so long is disconnected.
    """

    def __init__(
        self, app: ASGIApp, key: str | None, loopback: bool, origins: Iterable[str], send_seconds: float
    ) -> None:
        self._app, self._key, self._loopback = app, key.encode() if key else None, loopback
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
                "this server is asked under a name that is not of this machine",
                "use http://localhost, or bind it to an address with --host",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and _split(origin).netloc != host:
            return Problem(
                403,
                "other_site",
                "web pages of other sites may not use this server",
                "allow the site with --origin, or ask from a program",
            )
        if self._key is None or path in _OPEN or not path.startswith(("/v1/", "/metrics")):
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
    """Answer with ``problem``; a WebSocket, too, that is not open yet."""
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
    """Of what is no address, nothing."""
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
