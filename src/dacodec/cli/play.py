"""``dacodec play``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli import options


def play(
    input: Annotated[Path, typer.Argument(metavar="IN", help="A .dacz file.")],
    model: options.OtherModel = None,
    allow_other_model: options.AllowOtherModel = False,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
) -> None:
    """Decode a .dacz file and play it. Needs the extra 'play' (sounddevice)."""
    from dacodec.cli.devices import speaker
    from dacodec.container import Reader
    from dacodec.files import open_input

    with open_input(input) as file:
        reader = Reader(file)
        codec = options.codec_loader(device, engine)(model or reader.header.model_name)
        blocks = codec.decode_stream(
            reader, start_seconds=start, duration_seconds=duration, allow_other_model=allow_other_model
        )
        with speaker(reader.header.sampling_rate, reader.header.channels) as out:
            for block in blocks:
                out.write(block)
