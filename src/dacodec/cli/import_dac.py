"""``dacodec import-dac``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.options import Device, Engine, Overwrite, codec_loader, working


def import_dac(
    input: Annotated[Path, typer.Argument(metavar="OLD.dac", help="A file of Descript's package.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="Default: IN with the suffix .dacz.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The model that made the codes; the file does not say.")
    ] = "descript/dac_44khz",
    device: Device = "cpu",
    engine: Engine = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Convert a .dac file of Descript's package to a .dacz file, without running any code in it."""
    from dataclasses import replace

    from dacodec.audio import loudness_gain
    from dacodec.container.descript import MAX_BYTES, read_descript
    from dacodec.errors import FormatError
    from dacodec.files import open_input, refuse_same_file

    output = output or input.with_suffix(".dacz")
    refuse_same_file(input, output)
    with open_input(input) as file:
        old = read_descript(file.read(MAX_BYTES + 1))
    if not old.is_padded:
        raise FormatError(
            f"{input} was coded in chunks of {old.chunk_frames} frames that overlap by parts of a frame, which no other "
            "decoder can join: decode it with Descript's package and encode the audio"
        )
    codec = codec_loader(device, engine)(model)
    encoded = codec.from_codes(old.codes, sampling_rate=old.sampling_rate, n_samples=old.n_samples)
    with working(f"measuring the loudness of {input}"):
        gain = 1 / loudness_gain(codec.decode(encoded), old.sampling_rate, old.input_db)
    replace(encoded, gain=gain).save(output, overwrite=overwrite)
    say(f"{output}: {encoded.duration_seconds:.2f} s, {encoded.n_codebooks} codebooks, of {model}")
