"""The ASGI application: routes, error responses, start and stop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from dacodec import __version__
from dacodec.codec import Codec
from dacodec.errors import DacodecError, shown
from dacodec.serve import offline, streams
from dacodec.serve.guard import Guard, refuse
from dacodec.serve.limits import Limits
from dacodec.serve.problems import PROBLEM_JSON, Problem, problem_of
from dacodec.serve.service import Service
from dacodec.serve.warned import collected

log = logging.getLogger("dacodec.serve")

_TEXT = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = (
    "page.css",
    "page.js",
    "players.js",
    "pictures.js",
    "live.js",
    "service.js",
    "worklet.js",
    "icon.svg",
)
_EXAMPLE = "training/clips/speech_en_austen_16k.flac"


def make_app(
    codecs: Sequence[Codec],
    limits: Limits | None = None,
    *,
    key: str | None = None,
    loopback: bool = True,
    origins: Iterable[str] = (),
) -> FastAPI:
    """The service as an ASGI application. ``dacodec serve`` runs it under uvicorn.

    Args:
        codecs: the models to serve; the first is the default.
        key, loopback, origins: as for :class:`~dacodec.serve.guard.Guard`.
    """
    limits = limits or Limits()
    service = Service(codecs, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with collected():
            service.start()
            yield
            service.stop()

    app = FastAPI(
        title="dacodec",
        version=__version__,
        summary="The Descript Audio Codec as a service",
        docs_url=None,  # these pages load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(offline.routes(service))
    app.include_router(streams.routes(service))
    _add_state(app, service)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(_Counted, service=service)
    app.add_middleware(Guard, key=key, loopback=loopback, origins=origins, send_seconds=limits.send_seconds)
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models, the default one first, and the limits."""
        limits = service.limits
        return {
            "models": service.models.to_json(),
            "limits": {
                "body_bytes": limits.body_bytes,
                "audio_seconds": limits.audio_seconds,
                "channels": limits.channels,
                "sampling_rates": [limits.least_rate, limits.most_rate],
            },
        }

    @app.get("/healthz")
    async def healthy() -> Response:
        """Liveness: if it is not 200, restart the server."""
        return _state(service.worker.is_alive, "the codec's thread has died")

    @app.get("/readyz")
    async def ready() -> Response:
        """Readiness: whether to send requests here now."""
        admission = service.admission
        free = admission.requests < service.limits.requests and not admission.stopping
        return _state(free and service.worker.is_alive, "all slots are taken, or the server is stopping")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(service.metrics.to_text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _state(good: bool, otherwise: str) -> Response:
    return PlainTextResponse("ok\n" if good else otherwise + "\n", 200 if good else 503)


def _add_page(app: FastAPI) -> None:
    """Its files are listed here, so that no path from a client reaches the file system."""
    package = files("dacodec")

    def add(path: str, content: bytes, kind: str) -> None:
        async def page() -> Response:
            return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

        app.add_api_route(path, page, include_in_schema=False, response_model=None)

    def add_text(path: str, name: str) -> None:
        suffix = name[name.rindex(".") :]
        add(path, (package / "serve" / "static" / name).read_bytes(), f"{_TEXT[suffix]}; charset=utf-8")

    add_text("/", "index.html")
    for name in _STATIC:
        add_text(f"/static/{name}", name)
    add("/static/example.flac", package.joinpath(_EXAMPLE).read_bytes(), "audio/flac")


def _add_errors(app: FastAPI) -> None:
    async def known(request: Request, error: Exception) -> Response:
        return _respond(problem_of(error))

    async def wrong_query(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _respond(_wrong_parameter(error.errors()))

    async def wrong_stream_query(socket: WebSocket, error: Exception) -> None:
        assert isinstance(error, WebSocketRequestValidationError)
        await refuse(_wrong_parameter(error.errors()), socket.scope, socket.receive, socket.send)

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
        response = _respond(
            Problem(
                error.status_code, code, str(error.detail), "see /openapi.json for the routes and parameters"
            )
        )
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(Problem, known)
    app.add_exception_handler(DacodecError, known)
    app.add_exception_handler(RequestValidationError, wrong_query)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(WebSocketRequestValidationError, wrong_stream_query)


def _wrong_parameter(found: Sequence[Any]) -> Problem:
    name = ".".join(str(part) for part in found[0]["loc"][1:]) or "the request"
    what = shown(f"{name}: {found[0]['msg']}")[:300]
    return Problem(400, "bad_parameter", what, "see /openapi.json for the routes and parameters")


def _respond(problem: Problem) -> Response:
    return JSONResponse(problem.to_json(), problem.status, problem.headers, PROBLEM_JSON)


class _Counted:
    """Counts responses by route and status. An unexpected error is logged here, and not shown to the client."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app, self._requests = app, service.metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            log.exception("a request failed")
            if not status:
                await _respond(problem_of(error))(scope, receive, sent)
        # All unknown paths share one label, or clients could create any number.
        route = scope["path"] if scope["path"].startswith("/v1/") and status not in (404, 405) else "other"
        self._requests.labels(route, str(status)).inc()
