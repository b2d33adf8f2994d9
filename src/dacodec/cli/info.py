"""``dacodec info``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli.messages import complain, say

if TYPE_CHECKING:
    from dacodec.encoded import Summary


def info(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help=".dacz files.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")] = False,
) -> None:
    """Show what .dacz files hold: duration, codebooks, true kbit/s, model. Reads and checks all of each."""
    from dacodec.encoded import Summary
    from dacodec.errors import DacodecError

    failed = False
    for path in inputs:
        try:
            summary = Summary.read(path)
        except DacodecError as error:
            if len(inputs) == 1:
                raise
            complain(type(error)(f"{path}: {error}"))
            failed = True
            continue
        if as_json:
            print(json.dumps(_record(path, summary)))
        else:
            if len(inputs) > 1:
                say(f"{path}:")
            _print_rows(path, summary)
    sys.exit(1 if failed else 0)


def _record(path: Path, summary: Summary) -> dict[str, object]:
    header, size = summary.header, path.stat().st_size
    return {
        "file": str(path),
        "bytes": size,
        "duration_seconds": summary.duration_seconds,
        "n_samples": summary.n_samples,
        "sampling_rate": header.sampling_rate,
        "channels": header.channels,
        "n_codebooks": header.n_codebooks,
        "codebook_size": header.codebook_size,
        "n_frames": summary.n_frames,
        "frames_per_second": header.model_sampling_rate / header.hop_length,
        "codes_kbps": summary.bitrate_kbps,
        "file_kbps": size * 8 / 1000 / summary.duration_seconds if summary.n_samples else None,
        "model": header.model_name,
        "fingerprint": header.fingerprint.hex(),
        "gain": header.gain,
    }


def _print_rows(path: Path, summary: Summary) -> None:
    record, header = _record(path, summary), summary.header
    kbps = record["file_kbps"]
    rows = {
        "duration": f"{summary.duration_seconds:.3f} s ({summary.n_samples} samples at {header.sampling_rate} Hz)",
        "channels": header.channels,
        "codebooks": f"{header.n_codebooks} of {header.codebook_size} codes",
        "frames": f"{summary.n_frames} ({record['frames_per_second']:.2f} per second)",
        "codes": f"{summary.bitrate_kbps:.3f} kbit/s",
        "file": "no audio" if kbps is None else f"{kbps:.3f} kbit/s",
        "model": f"{header.model_name} ({header.fingerprint.hex()[:16]})",
        "gain": f"{header.gain:g}",
    }
    for name, value in rows.items():
        say(f"{name:<10} {value}")
