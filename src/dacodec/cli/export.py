"""``dacodec export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli import options
from dacodec.cli.messages import say


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's name, a folder, a hub id such as descript/dac_44khz, or a .pth file.",
        ),
    ],
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to put the files.")],
    format: Annotated[str, typer.Option(help="onnx or torch-export.")] = "onnx",
    half: Annotated[
        bool,
        typer.Option("--half", help="Store convolution weights in half precision: files of half the size."),
    ] = False,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Also the forms that take a signal piece by piece.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the files' metadata.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model as ONNX or torch.export files for other programs, and compare them with it. Needs the extra 'export'."""
    from dacodec.export import export_model

    with options.working(f"exporting {model}"):
        report = export_model(
            model,
            folder,
            format=format,
            half=half,
            streaming=streaming,
            licence=licence,
            overwrite=overwrite,
        )
    for line in report.table().splitlines():
        say(line)
    say(folder)
