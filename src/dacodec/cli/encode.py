"""``dacodec encode``."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any

import typer

from dacodec.cli import options, pipes
from dacodec.cli.plan import DACZ_SUFFIXES, Job, all_suffixes, make_plan, passed_over
from dacodec.errors import AudioError


def encode(
    inputs: Annotated[list[str], options.inputs("Audio files")],
    output: Annotated[
        str | None,
        options.output(
            "Outputs keep the whole name: a.wav becomes a.wav.dacz; a single file, without -o, a.dacz."
        ),
    ] = None,
    model: options.Model = "builtin",
    n_quantizers: options.NQuantizers = None,
    bitrate: Annotated[
        float | None, typer.Option(help="Instead: as many as fit in this many kbit/s, all channels together.")
    ] = None,
    loudness: Annotated[
        float | None,
        typer.Option(help="Code at this loudness in LUFS (DAC was trained at -16); undone on decode."),
    ] = None,
    mid_side: Annotated[
        bool, typer.Option("--mid-side", help="Code the mid and side of stereo rather than left and right.")
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
    rate: Annotated[int | None, typer.Option(help="Sampling rate of --raw input, in Hz.")] = None,
    channels: Annotated[int, typer.Option(help="Channels of --raw input.")] = 1,
    damaged: options.Damaged = "error",
    track: options.Track = None,
    suffix: options.Suffix = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Encode audio to .dacz files.

    With several inputs, a bad one is reported and the rest continue; existing outputs are skipped, so that an
    interrupted run can be resumed.

    From a folder everything is taken except hidden files and folders, and links to folders; those and broken
    links are listed. No output ever replaces an input.
    """
    from dacodec.audio import AUDIO_SUFFIXES
    from dacodec.cli.work import Report, work

    reading: dict[str, Any] = dict(damaged=damaged, track=track)
    load = options.codec_loader(device, engine, dtype, chunk, jobs, precision)
    how: dict[str, Any] = dict(
        n_quantizers=n_quantizers,
        bitrate_kbps=bitrate,
        mid_side=mid_side,
        start_seconds=start,
        duration_seconds=duration,
    )
    if pipes.wanted(inputs, output, raw, "- as the input"):
        _encode_pipe(
            inputs, output or pipes.PIPE, load(model), loudness, raw, rate, channels, overwrite, reading, how
        )
        return

    def run(job: Job, report: Report) -> str:
        summary = load(model).encode_file(
            job.source,
            job.output,
            overwrite=overwrite,
            loudness_lufs=loudness,
            progress=report,
            **reading,
            **how,
        )
        return (
            f"{job.output}: {summary.duration_seconds:.2f} s, {summary.header.n_codebooks} codebooks, "
            f"{summary.bitrate_kbps:.2f} kbit/s, {job.output.stat().st_size} bytes"
        )

    taken = all_suffixes(AUDIO_SUFFIXES, suffix)
    plan = make_plan(inputs, output, ".dacz", taken, model)
    plan = replace(plan, passed_over=passed_over(inputs, taken | DACZ_SUFFIXES))
    sys.exit(work(plan, run, jobs, overwrite))


def _encode_pipe(
    inputs: list[str],
    output: str,
    codec: Any,
    loudness: float | None,
    raw: str | None,
    rate: int | None,
    channels: int,
    overwrite: bool,
    reading: dict[str, Any],
    how: dict[str, Any],
) -> None:
    if loudness is not None:
        raise AudioError("loudness takes two passes over the audio, and a pipe allows one; use files")
    from dacodec.audio import AudioReader, PcmReader

    reader: AudioReader | PcmReader
    if inputs[0] == pipes.PIPE:
        reader = pipes.audio_input(raw, rate, channels, **reading)
    else:
        reader = AudioReader(inputs[0], **reading)
    with closing(reader), pipes.output(output, overwrite, inputs[0]) as file:
        codec.encode_stream(reader, file, **how)
