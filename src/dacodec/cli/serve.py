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
        typer.Option(help="As for encode. May be repeated; the first model is the default."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to bind. If others can reach it, DACODEC_API_KEY must hold an API key."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one.", min=0, max=65535)] = 8000,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    chunk: Annotated[
        float,
        typer.Option(help="Seconds computed at once: fewer shorten the delay of streams.", min=0.1, max=60),
    ] = 1.0,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Another web site whose pages may use the service: https://example.org. May be repeated."
        ),
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Longest recording, in seconds.", min=1)] = 600,
    max_megabytes: Annotated[int, typer.Option(help="Largest request body, in MiB.", min=1)] = 64,
    max_memory: Annotated[int, typer.Option(help="Memory for all requests together, in MiB.", min=64)] = 1024,
    max_requests: Annotated[int, typer.Option(help="Requests at a time; more get 429.", min=1)] = 64,
    max_streams: Annotated[int, typer.Option(help="Streams at a time; more get 429.", min=1)] = 16,
) -> None:
    """Serve the codec over HTTP and WebSockets, with a page to hear and see it (docs/service.md)."""
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
    make_server(codecs, host, port, limits=limits, origins=origin or (), started=_announce).run()


def _announce(address: str) -> None:
    say(f"serving on {address}; press Ctrl-C to stop")
    sys.stdout.flush()  # a pipe would hold it back
