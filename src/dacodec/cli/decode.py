"""``dacodec decode``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dacodec.cli import options, pipes
from dacodec.cli.plan import DACZ_SUFFIXES, Job, make_plan
from dacodec.cli.verify import tell


def decode(
    inputs: Annotated[list[str], options.inputs(".dacz files")],
    output: Annotated[
        str | None,
        options.output(
            "Outputs keep the name: a.dacz and a.wav.dacz become a.wav, a.flac.dacz becomes a.flac.wav."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(help="Format of outputs that are not named: wav, flac, ogg, opus, mp3, ...")
    ] = "wav",
    model: options.OtherModel = None,
    allow_other_model: options.AllowOtherModel = False,
    conceal: Annotated[
        bool, typer.Option("--conceal", help="Skip damage: lost audio fades out, and is reported.")
    ] = False,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    jobs: options.Jobs = 1,
    chunk: options.Chunk = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "float32",
    engine: options.Engine = "auto",
    precision: options.Precision = None,
    raw: options.Raw = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Decode .dacz files to audio.

    With several inputs, a bad one is reported and the rest continue; existing outputs are skipped, so that an
    interrupted run can be resumed.

    From a folder everything is taken except hidden files and folders, and links to folders; those and broken
    links are listed. No output ever replaces an input.
    """
    from dacodec.cli.work import Report, work
    from dacodec.container import Reader
    from dacodec.files import open_input

    load = options.codec_loader(device, engine, dtype, chunk, jobs, precision)
    how: dict[str, Any] = dict(
        start_seconds=start, duration_seconds=duration, allow_other_model=allow_other_model
    )
    if pipes.wanted(inputs, output, raw, "-o -"):
        with sys.stdin.buffer if inputs[0] == pipes.PIPE else open_input(inputs[0]) as file:
            reader = Reader(file, conceal=conceal)
            codec = load(model or reader.header.model_name)
            _decode_pipe(codec, reader, inputs[0], output or pipes.PIPE, raw, overwrite, how)
        return

    def run(job: Job, report: Report) -> str:
        with open_input(job.source) as file:
            name = Reader(file).header.model_name
        summary = load(model or name).decode_file(
            job.source, job.output, overwrite=overwrite, conceal=conceal, progress=report, **how
        )
        tell(summary.header, summary.damages)
        return (
            f"{job.output}: {summary.duration_seconds:.2f} s, {summary.header.channels} channel(s), "
            f"{summary.header.sampling_rate} Hz"
        )

    suffix = "." + format.lower().removeprefix(".")
    sys.exit(work(make_plan(inputs, output, suffix, DACZ_SUFFIXES, model), run, jobs, overwrite))


def _decode_pipe(
    codec: Any, reader: Any, source: str, output: str, raw: str | None, overwrite: bool, how: dict[str, Any]
) -> None:
    from dacodec.audio import AudioWriter, Writer

    header = reader.header
    whole = not how["start_seconds"] and how["duration_seconds"] is None
    writer: Writer
    with pipes.output(output, overwrite, source) as file:
        if output == pipes.PIPE:
            writer = pipes.audio_output(file, raw, header, header.n_samples if whole else None)
        else:
            format = Path(output).suffix[1:] or "wav"
            writer = AudioWriter(file, header.sampling_rate, header.channels, format=format)
        with writer:
            for block in codec.decode_stream(reader, **how):
                writer.write(block)
