"""``dacodec finetune``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.overrides import overrides

if TYPE_CHECKING:
    from dacodec.training.config import TrainConfig


def finetune(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model's name, a folder, a hub id, or a Descript .pth file."),
    ],
    config: Annotated[
        str,
        typer.Argument(metavar="CONFIG", help="A YAML file or a recipe; its model's shape is ignored."),
    ] = "finetune",
    discriminator: Annotated[
        str | None,
        typer.Option(
            help="Weights of a discriminator, used from the first step. Default: those beside MODEL."
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="End cleanly after this long, with the weights saved.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder; a run in it is resumed.")] = None,
) -> None:
    """Continue training from any model. Set config keys as for train: --data.sources '["my/audio"]'."""
    from dacodec.training.config import load_config
    from dacodec.training.loop import fit

    def configured(*found: str) -> TrainConfig:
        return load_config(
            config,
            ["--model=null", *found, *overrides(context)],
            init=model,
            init_discriminator=discriminator,
            max_minutes=max_minutes,
            out=out,
        )

    settings = configured()
    if settings.discriminator is not None:
        settings = configured(*_discriminator_settings(settings))
    result = fit(settings)
    say(f"{result.reason}: step {result.step}, {result.audio_seconds:.0f} s of audio seen, {result.model}")


def _discriminator_settings(settings: TrainConfig) -> list[str]:
    """Settings for the discriminator beside the model: its shape, and no delay; none if there is no such weights file."""
    from dacodec.training.checkpoints import discriminator_of, load_discriminator

    weights = settings.init_discriminator
    if weights == "auto":
        place = discriminator_of(settings.init)
        if not place.is_file():
            say(
                f"a new discriminator is trained, since there is no {place}; give the model's own, if you have it, "
                "as --discriminator FILE (a built-in model's is in dacodec's repository, folder discriminators)"
            )
            return []
        weights = str(place)
    if not weights:
        return []
    shape, _ = load_discriminator(Path(weights))
    return [
        f"--init_discriminator={weights}",
        f"--discriminator={json.dumps(asdict(shape))}",
        "--schedule.adversarial_start_step=0",
    ]
