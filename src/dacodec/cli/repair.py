"""``dacodec repair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.options import Overwrite


def repair(
    input: Annotated[Path, typer.Argument(metavar="IN", help="A damaged .dacz file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="A sound .dacz file.")],
    header_from: Annotated[
        Path | None, typer.Option(help="Another file of the same kind, if the header of IN is damaged.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """A sound file out of what is left of a damaged one, on the same time line. Needs no model."""
    from dacodec.cli.verify import tell
    from dacodec.container import Reader
    from dacodec.container import repair as repair_file
    from dacodec.files import new_file, open_input

    header = None
    if header_from is not None:
        with open_input(header_from) as donor:
            header = Reader(donor).header
    with open_input(input) as file, new_file(output, overwrite) as out:
        damages = repair_file(file, out, header=header)
    with open_input(output) as file:
        header = Reader(file).header
    print(f"{output}: {sum(damage.n_frames for damage in damages)} frames were lost")
    tell(header, damages)
