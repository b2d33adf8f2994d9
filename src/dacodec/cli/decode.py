"""``dacodec decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.options import Device, Engine, Overwrite, load_codec, working


def decode(
    input: Annotated[Path, typer.Argument(metavar="IN", help="A .dacz file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="Left out: IN with the suffix .wav.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Left out: the model that the file names.")] = None,
    allow_other_model: Annotated[
        bool, typer.Option("--allow-other-model", help="Decode even if the model is not the one that coded.")
    ] = False,
    device: Device = "cpu",
    engine: Engine = "auto",
    overwrite: Overwrite = False,
) -> None:
    """A .dacz file to audio."""
    from dacodec.encoded import Encoded

    output = output or input.with_suffix(".wav")
    encoded = Encoded.load(input)
    codec = load_codec(model or encoded.model.name, device, engine)
    with working(f"decoding {input}"):
        codec.decode_file(input, output, overwrite=overwrite, allow_other_model=allow_other_model)
    print(
        f"{output}: {encoded.duration_seconds:.2f} s, {encoded.n_channels} channel(s), {encoded.sampling_rate} Hz"
    )
