"""``dacodec repair``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.options import Overwrite


def repair(
    input: Annotated[Path, typer.Argument(metavar="IN", help="A damaged .dacz file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="The repaired .dacz file.")
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace IN, once the repaired file is complete."),
    ] = False,
    header_from: Annotated[
        Path | None, typer.Option(help="Another file of the same kind, if the header of IN is damaged.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a valid file from what is left of a damaged one, keeping its timing. Needs no model."""
    from dacodec.cli.verify import tell
    from dacodec.container import Reader
    from dacodec.container import repair as repair_file
    from dacodec.files import new_file, open_input

    if (output is None) != in_place:
        raise typer.BadParameter("give either -o or --in-place", param_hint="-o")
    target = output or Path(os.path.realpath(input))  # not a link to it
    header = None
    if header_from is not None:
        with open_input(header_from) as donor:
            header = Reader(donor).header
    sources = [path for path in (None if in_place else input, header_from) if path]
    with new_file(target, overwrite or in_place, sources=sources) as out, open_input(input) as file:
        damages = repair_file(file, out, header=header)
        if in_place:
            shutil.copymode(input, out.name)
    with open_input(target) as file:
        header = Reader(file).header
    say(f"{target}: {sum(damage.n_frames for damage in damages)} frames were lost")
    tell(header, damages)
