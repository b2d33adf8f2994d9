"""``dacodec finetune``."""

from __future__ import annotations

from typing import Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.overrides import overrides


def finetune(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model's name, a folder, a hub id, or a Descript .pth file."),
    ],
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A YAML file, or a recipe; its model's shape is not used.")
    ] = "finetune",
    discriminator: Annotated[
        str | None, typer.Option(help="Weights of a discriminator; left out, those beside MODEL, if any.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="End cleanly after so long, with the weights saved.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder; a run in it goes on.")] = None,
) -> None:
    """Train on from any model. Keys of the config can be set as for train: --data.sources '["my/audio"]'."""
    from dacodec.training.config import load_config
    from dacodec.training.loop import fit

    result = fit(
        load_config(
            config,
            ["--model=null", *overrides(context)],
            init=model,
            init_discriminator=discriminator,
            max_minutes=max_minutes,
            out=out,
        )
    )
    say(f"{result.reason}: step {result.step}, {result.audio_seconds:.0f} s of audio seen, {result.model}")
