"""``dacodec serve``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dacodec.cli import options
from dacodec.cli.messages import say
from dacodec.errors import InstallationError


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="As for encode; several times for several models, the first is the default one."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address. Others than this machine's own need an API key in DACODEC_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.", min=0, max=65535)] = 8000,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    chunk: Annotated[
        float,
        typer.Option(help="Seconds computed at once: less for less waiting of streams.", min=0.1, max=60),
    ] = 1.0,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Another web site whose pages may use the service, such as https://example.org."),
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Of a recording.", min=1)] = 600,
    max_megabytes: Annotated[int, typer.Option(help="Of a request.", min=1)] = 64,
    max_memory: Annotated[int, typer.Option(help="MiB of all requests together.", min=64)] = 1024,
    max_requests: Annotated[int, typer.Option(help="At a time; more are told to come back.", min=1)] = 64,
    max_streams: Annotated[int, typer.Option(help="At a time.", min=1)] = 16,
) -> None:
    """The codec over HTTP and WebSockets, and a page to hear and see it (docs/service.md)."""
    try:
        from dacodec.serve.server import key_for, make_server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dacodec"):
            raise
        raise InstallationError(f"the service needs {error.name}: pip install dacodec[serve]") from None
    from dacodec.serve.limits import MIB, Limits

    key_for(host)  # before a model is loaded
    limits = Limits(
        body_bytes=max_megabytes * MIB,
        memory_bytes=max_memory * MIB,
        audio_seconds=max_seconds,
        requests=max_requests,
        sessions=max_streams,
    )
    load = options.codec_loader(device, engine, chunk_seconds=chunk)
    codecs = [load(name) for name in dict.fromkeys(model or ["builtin"])]
    make_server(codecs, host, port, limits=limits, origins=origin or (), started=_tell).run()


def _tell(address: str) -> None:
    say(f"serving on {address}, Ctrl-C ends")
    sys.stdout.flush()  # who waits for it may read a pipe or a file
