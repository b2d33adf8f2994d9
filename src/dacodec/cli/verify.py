"""``dacodec verify``, and how damage is reported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli.messages import say

if TYPE_CHECKING:
    from dacodec.container import Damage, Header

DAMAGED = 4  # exit code, as for any file that breaks the format


def verify(inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help=".dacz files.")]) -> None:
    """Check every byte of .dacz files and report everything that is wrong (exit code 4). Needs no model."""
    from dacodec.container import verify as verify_file
    from dacodec.errors import FormatError
    from dacodec.files import open_input

    is_damaged = False
    for path in inputs:
        with open_input(path) as file:
            try:
                verdict = verify_file(file)
            except FormatError as error:
                say(f"{path}: {error}")
                is_damaged = True
                continue
        is_damaged |= bool(verdict.damages)
        unseen = "" if verdict.codes_checked else ", checksums only: the prior of its codes is not available"
        state = "DAMAGED" if verdict.damages else "sound"
        seconds = verdict.n_samples / verdict.header.sampling_rate
        say(f"{path}: {state}, {seconds:.3f} s, {verdict.n_frames} frames{unseen}")
        tell(verdict.header, verdict.damages)
    if is_damaged:
        raise typer.Exit(DAMAGED)


def tell(header: Header, damages: Iterable[Damage]) -> None:
    """One line per damage: where in the file, where in time, why."""
    for damage in damages:
        say(f"  {damage.described(header)}")
