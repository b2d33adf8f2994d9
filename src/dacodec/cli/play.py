"""``dacodec play``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli import options
from dacodec.errors import OutputError


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
    from dacodec.container import Reader
    from dacodec.files import open_input

    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise OutputError(f"cannot play: {error}; pip install dacodec[play], or decode to a file") from None
    with open_input(input) as file:
        reader = Reader(file)
        codec = options.codec_loader(device, engine)(model or reader.header.model_name)
        blocks = codec.decode_stream(
            reader, start_seconds=start, duration_seconds=duration, allow_other_model=allow_other_model
        )
        try:
            with sounddevice.OutputStream(
                samplerate=reader.header.sampling_rate, channels=reader.header.channels, dtype="float32"
            ) as speaker:
                for block in blocks:
                    speaker.write(block.T.copy())
        except sounddevice.PortAudioError as error:
            raise OutputError(f"cannot play: {error}") from None
