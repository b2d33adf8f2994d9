"""``dacodec train``."""

from __future__ import annotations

from typing import Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.overrides import overrides


def train(
    context: typer.Context,
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a recipe such as smoke.")],
    max_minutes: Annotated[
        float | None, typer.Option(help="End cleanly after this long, with the weights saved.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder; a run in it is resumed.")] = None,
) -> None:
    """Train a model. Any key of the config can be set after it: --data.workers 4 --model.n_codebooks 8."""
    from dacodec.training.config import load_config
    from dacodec.training.loop import fit

    result = fit(load_config(config, overrides(context), max_minutes=max_minutes, out=out))
    say(f"{result.reason}: step {result.step}, {result.audio_seconds:.0f} s of audio seen, {result.model}")
