"""``dacodec detokenize``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli import options
from dacodec.cli.messages import complain, say

if TYPE_CHECKING:
    from dacodec.corpus.detokenizing import DecodeReport


def detokenize(
    tokens: Annotated[
        list[Path],
        typer.Argument(
            metavar="TOKENS...",
            help="Folders of tokens, or Parquet files and tars whose rows have key and codes.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="A folder for audio files.")],
    format: Annotated[str, typer.Option(help="wav, flac, ogg, opus, mp3, ...")] = "wav",
    model: Annotated[str | None, typer.Option(help="Default: the model that the tokens name.")] = None,
    allow_other_model: options.AllowOtherModel = False,
    overwrite: options.Overwrite = False,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", help="Default: one per core, or one for a GPU.", min=1)
    ] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "float32",
    engine: options.Engine = "auto",
) -> None:
    """Turn tokens into audio: one file per row, named after its key. Existing files are skipped."""
    from dacodec.corpus.detokenizing import detokenize as run_all

    with options.progress() as progress:
        report = run_all(
            tokens,
            output,
            model=model,
            allow_other_model=allow_other_model,
            format=format,
            overwrite=overwrite,
            processes=processes,
            device=device,
            engine=engine,
            dtype=dtype,
            progress=lambda report: progress(_line(report)),
        )
    say(_line(report))
    for key, reason in report.failures:
        complain(f"{key}: {reason}")
    sys.exit(1 if report.failures else 0)


def _line(report: DecodeReport) -> str:
    return (
        f"{report.done} done ({report.seconds / 3600:.2f} h of audio, {report.times_real_time:.1f}x real time), "
        f"{report.skipped} skipped (their outputs exist), {len(report.failures)} failed"
    )
