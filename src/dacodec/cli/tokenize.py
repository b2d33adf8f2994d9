"""``dacodec tokenize``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli import options
from dacodec.cli.messages import say

if TYPE_CHECKING:
    from dacodec.corpus.tokenizing import Report


def tokenize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Audio files, folders, globs, WebDataset tars, Parquet files, .jsonl, .csv or .tsv lists; paths or URLs.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A folder. Inputs that are finished in it are skipped."
        ),
    ],
    model: options.Model = "builtin",
    form: Annotated[
        str, typer.Option("--form", help="parquet; tar, for WebDataset; dacz, a file per row.")
    ] = "parquet",
    n_quantizers: options.NQuantizers = None,
    bitrate: Annotated[
        float | None,
        typer.Option(
            help="Instead: as many codebooks as fit into this many kbit/s, for all channels together."
        ),
    ] = None,
    channels: Annotated[str, typer.Option(help="mono (averaged), left-right or mid-side.")] = "mono",
    loudness: Annotated[float | None, typer.Option(help="Code at this loudness in LUFS.")] = None,
    least: Annotated[float, typer.Option("--min-seconds", help="Leave out rows that are shorter.")] = 0.0,
    most: Annotated[
        float | None, typer.Option("--max-seconds", help="Leave out rows that are longer.")
    ] = None,
    split: Annotated[
        float | None,
        typer.Option("--split-seconds", help="Cut recordings into rows of at most this many seconds."),
    ] = None,
    at_silence: Annotated[
        bool,
        typer.Option("--split-at-silence", help="Cut at the quietest place in the second half of each row."),
    ] = False,
    shard_hours: Annotated[float, typer.Option(help="Hours of audio per shard, roughly.", min=1e-6)] = 5.0,
    audio_column: Annotated[
        str | None, typer.Option(help="The audio in Parquet files and lists. Default: found by name or type.")
    ] = None,
    whole_keys: Annotated[
        bool, typer.Option("--whole-keys", help="Keys are whole addresses, not names relative to the source.")
    ] = False,
    damaged: options.Damaged = "error",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try inputs again that failed before.")
    ] = False,
    changed: Annotated[
        str, typer.Option(help="Inputs that changed since they were done: keep their rows, or redo them.")
    ] = "keep",
    hashes: Annotated[
        bool,
        typer.Option("--hash", help="Detect changes by content, not by size and time; reads every input."),
    ] = False,
    runner: Annotated[str, typer.Option(help="local, or ray: a Ray cluster; needs dacodec[ray].")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster. Default: RAY_ADDRESS, or a new one on this machine."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "-j", "--processes", help="Of the local runner. Default: one per core, or one for a GPU.", min=1
        ),
    ] = None,
    chunk: options.Chunk = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "float32",
    engine: options.Engine = "auto",
) -> None:
    """Turn whole corpora into tokens for language models.

    After an interruption of any kind, the same command resumes. Inputs that fail are listed in OUT/failed.parquet and do
    not stop the run. The exit code is 1 if any input failed, or changed and was kept.
    """
    from dacodec.corpus.settings import Settings
    from dacodec.corpus.tokenizing import tokenize as run_all

    with options.progress() as progress:
        report = run_all(
            sources,
            output,
            model=model,
            form=form,
            settings=Settings(
                n_quantizers,
                bitrate,
                channels,  # type: ignore[arg-type]
                loudness,
                least,
                most,
                split,
                at_silence,
                damaged,  # type: ignore[arg-type]
            ),
            audio_column=audio_column,
            whole_keys=whole_keys,
            shard_seconds=3600 * shard_hours,
            retry_failed=retry_failed,
            changed=changed,  # type: ignore[arg-type]
            hashes=hashes,
            runner=runner,  # type: ignore[arg-type]
            address=address,
            processes=processes,
            device=device,
            engine=engine,
            dtype=dtype,
            chunk_seconds=chunk,
            progress=lambda report: progress(_line(report)),
        )
    say(_line(report))
    if report.failed or report.failed_before:
        say(f"  reasons: {output / 'failed.parquet'}; --retry-failed tries these inputs again")
    if report.changed and changed == "keep":
        say("  the rows of changed inputs were kept; --changed redo replaces them")
    sys.exit(1 if report.failed or report.failed_before or (report.changed and changed == "keep") else 0)


def _line(report: Report) -> str:
    parts = [
        f"{report.done} done ({report.seconds / 3600:.2f} h of audio, {report.rows} rows, "
        f"{report.times_real_time:.1f}x real time)"
    ]
    counts = {
        "too short or long": report.left_out,
        "skipped (done before)": report.skipped,
        "changed since": report.changed,
        "failed": report.failed,
        "failed before": report.failed_before,
    }
    return ", ".join([*parts, *(f"{n} {what}" for what, n in counts.items() if n or what == "failed")])
