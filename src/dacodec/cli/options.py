"""Options that several commands share, and what they make of a terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dacodec.codec import Codec

Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Engine = Annotated[str, typer.Option(help="auto, native, torch or torch-compile.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


def load_codec(model: str, device: str, engine: str) -> Codec:
    from dacodec.codec import Codec

    with working(f"loading {model}"):
        return Codec.from_pretrained(model, device=device, engine=engine)


def working(what: str) -> AbstractContextManager[Any]:
    """A spinner on a terminal, nothing elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()
