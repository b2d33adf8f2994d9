"""``dacodec peel``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.options import Overwrite


def peel(
    input: Annotated[Path, typer.Argument(metavar="IN", help="A .dacz file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="A smaller .dacz file.")],
    n_quantizers: Annotated[int, typer.Option(help="Codebooks to keep, the lowest.")],
    overwrite: Overwrite = False,
) -> None:
    """Lower the bitrate of a .dacz file: the same bytes as encoding with fewer codebooks. Needs no model."""
    from dacodec.container import peel as peel_file
    from dacodec.files import new_file, open_input

    with open_input(input) as file, new_file(output, overwrite, sources=[input]) as out:
        peel_file(file, out, n_quantizers)
    say(f"{output}: {n_quantizers} codebooks, {input.stat().st_size} -> {output.stat().st_size} bytes")
