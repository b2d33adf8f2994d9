"""The application under uvicorn, with a time limit for idle connections and a graceful end on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dacodec.codec import Codec
from dacodec.errors import ConfigError, InputError
from dacodec.serve.admission import Admission
from dacodec.serve.app import make_app
from dacodec.serve.guard import is_loopback
from dacodec.serve.limits import Limits

KEY_VARIABLE = "DACODEC_API_KEY"
LEAST_KEY = 16  # characters
_PING_SECONDS = 20.0


def make_server(
    codecs: Sequence[Codec],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    origins: Iterable[str] = (),
    started: Callable[[str], None] = lambda address: None,
) -> Server:
    """A server that is already bound. ``run()`` serves until SIGTERM or Ctrl-C, then finishes running requests.

    Args:
        port: 0 picks a free one.
        started: called with the address once the server accepts connections.

    Raises:
        ConfigError: if others can reach ``host`` and ``DACODEC_API_KEY`` holds no key, or a bad one.
        InputError: if the address cannot be bound.
    """
    limits = limits or Limits()
    app = make_app(codecs, limits, key=key_for(host), loopback=is_loopback(host), origins=origins)
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=_protocol(limits),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=int(limits.stop_seconds),
        limit_concurrency=limits.connections,
        server_header=False,
        log_level="error",  # warnings are about malformed requests, and could fill the log
        lifespan="on",
    )
    return Server(config, app.state.service.admission, listening, started)


def key_for(host: str) -> str | None:
    """The API key from the environment; None if there is none and ``host`` needs none.

    Raises:
        ConfigError: if ``host`` needs one and there is none, or it is too weak.
    """
    key = os.environ.get(KEY_VARIABLE) or None
    if key is None and not is_loopback(host):
        raise ConfigError(
            f"others can reach {host}: set {KEY_VARIABLE} to an API key, for example "
            '$(python -c "import secrets; print(secrets.token_urlsafe())"), or bind to 127.0.0.1'
        )
    if key is not None and (len(key) < LEAST_KEY or not set(key) <= _KEY_CHARACTERS):
        raise ConfigError(f"{KEY_VARIABLE} must have {LEAST_KEY} or more characters out of A-Z a-z 0-9 - _ .")
    return key


_KEY_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(
            f"cannot bind to {host}:{port}: {getattr(error, 'strerror', None) or error}; choose another --port"
        ) from None
    return listening


class Server(uvicorn.Server):
    """Handles signals itself: uvicorn would raise them again at the end, but a graceful end should exit with 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        admission: Admission,
        listening: socket.socket,
        started: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._admission, self._listening, self._on_start = admission, listening, started

    @property
    def address(self) -> str:
        host, port = self._listening.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start(self.address)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:  # the second signal
            self.force_exit = True
        self.should_exit = True
        self._admission.stopping = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._listening])


def _protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol, which closes a connection that does not send a request's head in time."""

    class TimedProtocol(H11Protocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            # guard aborts the connection if the client is too slow to read.
            self.app_state = {**self.app_state, "connection": self}
            self._timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_timer()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_timer()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._start_timer()

        def abort(self) -> None:
            self.transport.abort()

        def _start_timer(self) -> None:
            self._stop_timer()
            self._timer = self.loop.call_later(limits.header_seconds, self.abort)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return TimedProtocol
