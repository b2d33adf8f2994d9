"""``dacodec encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.options import Device, Engine, Overwrite, load_codec, working


def encode(
    input: Annotated[Path, typer.Argument(metavar="IN", help="An audio file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="Left out: IN with the suffix .dacz.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="A model's name, a folder, a hub id such as descript/dac_44khz, or a .pth file."),
    ] = "builtin",
    n_quantizers: Annotated[int | None, typer.Option(help="Codebooks to use; left out, all.")] = None,
    bitrate: Annotated[
        float | None, typer.Option(help="Instead: as many as fit in this many kbit/s, all channels together.")
    ] = None,
    loudness: Annotated[
        float | None,
        typer.Option(help="Code at this loudness in LUFS (DAC was trained at -16); undone on decode."),
    ] = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Audio to a .dacz file."""
    output = output or input.with_suffix(".dacz")
    codec = load_codec(model, device, engine)
    with working(f"encoding {input}"):
        encoded = codec.encode_file(
            input,
            output,
            n_quantizers=n_quantizers,
            bitrate_kbps=bitrate,
            loudness_lufs=loudness,
            overwrite=overwrite,
        )
    print(
        f"{output}: {encoded.duration_seconds:.2f} s, {encoded.header.n_codebooks} codebooks, "
        f"{encoded.bitrate_kbps:.2f} kbit/s, {output.stat().st_size} bytes"
    )
