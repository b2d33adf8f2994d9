"""The application under uvicorn: connections that do nothing are closed, and SIGTERM ends it gracefully."""

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
    """A server, bound already; its ``run()`` serves until SIGTERM or Ctrl-C, and then finishes what runs.

    Args:
        port: 0 for any that is free.
        started: is told the address, once connections are taken.

    Raises:
        ConfigError: if ``host`` is not of this machine alone and there is no key in ``DACODEC_API_KEY``.
        InputError: if the address cannot be had.
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
        log_level="warning",
        lifespan="on",
    )
    return Server(config, app.state.service.admission, listening, started)


def key_for(host: str) -> str | None:
    """The key in the environment, which ``host`` may need.

    Raises:
        ConfigError: if it needs one and there is none, or it is no good.
    """
    key = os.environ.get(KEY_VARIABLE) or None
    if key is None and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached by others: put an API key into {KEY_VARIABLE}, for example "
            '$(python -c "import secrets; print(secrets.token_urlsafe())"), or bind to 127.0.0.1'
        )
    if key is not None and (len(key) < LEAST_KEY or not set(key) <= _KEY_CHARACTERS):
        raise ConfigError(f"{KEY_VARIABLE} must be {LEAST_KEY} or more of the characters A-Z a-z 0-9 - _ .")
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
            f"cannot bind to {host}:{port}: {getattr(error, 'strerror', None) or error}; take another --port"
        ) from None
    return listening


class Server(uvicorn.Server):
    """Takes signals itself: uvicorn would raise them again at the end, and a graceful end is no failure."""

    def __init__(
        self,
        config: uvicorn.Config,
        admission: Admission,
        listening: socket.socket,
        started: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._admission, self._listening, self._told = admission, listening, started

    @property
    def address(self) -> str:
        host, port = self._listening.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._told(self.address)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:  # asked twice
            self.force_exit = True
        self.should_exit = True
        self._admission.stopping = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self._listening])


def _protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's, and a watch: a connection that has no request under way must begin one in time."""

    class Watched(H11Protocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.app_state = {**self.app_state, "connection": self}  # for who finds the client too slow
            self._watch: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watch()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_watch()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_watch()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._await_head()

        def abort(self) -> None:
            self.transport.abort()

        def _await_head(self) -> None:
            self._stop_watch()
            self._watch = self.loop.call_later(limits.header_seconds, self.abort)

        def _stop_watch(self) -> None:
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None

    return Watched
