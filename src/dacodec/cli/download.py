"""``dacodec download``."""

from __future__ import annotations

from typing import Annotated

import typer

from dacodec.cli.messages import say


def download(
    model: Annotated[str, typer.Argument(metavar="ID", help="A hub id such as descript/dac_44khz.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
) -> None:
    """Fetch a model from the Hugging Face hub, for later use offline."""
    from dacodec.checkpoint import download as fetch
    from dacodec.cli.options import working

    with working(f"downloading {model}"):
        folder = fetch(model, revision=revision)
    say(folder)
