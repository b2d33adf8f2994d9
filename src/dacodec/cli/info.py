"""``dacodec info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(input: Annotated[Path, typer.Argument(metavar="IN", help="A .dacz file.")]) -> None:
    """What a .dacz file holds: duration, codebooks, true kbit/s, model. Reads and checks all of it."""
    from dacodec.container import Reader
    from dacodec.files import open_input

    with open_input(input) as file:
        reader = Reader(file)
        for _ in reader:
            pass
    header, n_samples = reader.header, reader.n_samples
    assert n_samples is not None  # the end mark says it
    seconds = n_samples / header.sampling_rate
    bits = (header.codebook_size - 1).bit_length()
    frame_rate = header.model_sampling_rate / header.hop_length
    rows = {
        "duration": f"{seconds:.3f} s ({n_samples} samples at {header.sampling_rate} Hz)",
        "channels": header.channels,
        "codebooks": f"{header.n_codebooks} of {header.codebook_size} codes",
        "frames": f"{reader.n_frames} ({frame_rate:.2f} a second)",
        "codes": f"{header.channels * header.n_codebooks * bits * frame_rate / 1000:.3f} kbit/s",
        "file": f"{input.stat().st_size * 8 / 1000 / seconds:.3f} kbit/s" if seconds else "no audio",
        "model": f"{header.model_name} ({header.fingerprint.hex()[:16]})",
        "gain": f"{header.gain:g}",
    }
    for name, value in rows.items():
        print(f"{name:<10} {value}")
