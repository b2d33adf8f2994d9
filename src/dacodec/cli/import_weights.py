"""``dacodec import-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.messages import say


def import_weights(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.pth", help="Weights of Descript's package.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.")],
) -> None:
    """Turn Descript's weights into a model folder (config.json, safetensors) without running code in them."""
    from dacodec.checkpoint import import_weights as convert

    convert(weights, folder)
    say(folder)
