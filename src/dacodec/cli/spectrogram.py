"""``dacodec spectrogram``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dacodec.cli import options
from dacodec.cli.messages import say


def spectrogram(
    original: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="An audio file.")],
    decoded: Annotated[
        Path | None,
        typer.Argument(metavar="[DECODED]", help="Its decoded audio, or a .dacz file. Default: code it now."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PNG", help="Default: ORIGINAL with .png.")
    ] = None,
    model: options.OtherModel = None,
    n_quantizers: options.NQuantizers = None,
    start: options.Start = 0.0,
    duration: Annotated[float, typer.Option(help="Seconds to draw.", min=0.05)] = 10.0,
    device: options.Device = "cpu",
    engine: options.Engine = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Draw a recording's spectrogram above that of its decoded audio. Needs the extra 'eval' (matplotlib)."""
    from dacodec.audio import read, resample
    from dacodec.encoded import Encoded
    from dacodec.errors import AudioError, OutputError
    from dacodec.files import new_file, refuse_same_file

    if find_spec("matplotlib") is None:
        raise OutputError("drawing needs matplotlib: pip install dacodec[eval]")
    from dacodec.evaluation.pictures import save_spectrograms

    picture = output or original.with_suffix(".png")
    sources = [original] if decoded is None else [original, decoded]
    for source in sources:  # before the work
        refuse_same_file(source, picture)
    audio, rate = read(original)
    load = options.codec_loader(device, engine)
    if decoded is None or decoded.suffix == ".dacz":
        if decoded is None:
            encoded = load(model or "builtin").encode(audio, rate, n_quantizers=n_quantizers)
        else:
            encoded = Encoded.load(decoded)
        made = load(model or encoded.model.name).decode(encoded)
        title = f"{encoded.model.name}, {encoded.bitrate_kbps:.2f} kbit/s"
        made = resample(made, encoded.sampling_rate, rate)
    else:
        other = read(decoded)
        made, title = resample(other.samples, other.sampling_rate, rate), decoded.name
    part = slice(round(start * rate), round((start + duration) * rate))
    if not audio[:, part].size:
        raise AudioError(f"there is no audio from {start:g} s on; it is {audio.shape[1] / rate:g} s long")
    with new_file(picture, overwrite, sources=sources) as file:
        save_spectrograms(file, {original.name: audio[:, part].mean(0), title: made[:, part].mean(0)}, rate)
    say(picture)
