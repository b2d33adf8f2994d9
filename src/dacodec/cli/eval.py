"""``dacodec eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacodec.cli.messages import say
from dacodec.cli.options import Device, Engine, codec_loader, working
from dacodec.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from dacodec.errors import AudioError
    from dacodec.evaluation.evaluate import Report, Sound
    from dacodec.training.sources import Unit


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="REF DECODED | FOLDER...", help="Two files; or, with --model, folders, patterns and tars."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="Code the recordings with this model and score the result.")
    ] = None,
    n_quantizers: Annotated[
        str, typer.Option(help="Numbers of codebooks, such as 1,3,9. Default: four of them.")
    ] = "",
    opus: Annotated[
        str, typer.Option(help="kbit/s of Opus to compare with (opusenc, or else PyAV's); empty for none.")
    ] = "6,8,12,16,24",
    split: Annotated[str, typer.Option(help="Rows of a files.tsv that are used.")] = "val",
    limit: Annotated[int | None, typer.Option(help="At most this many recordings per pool.")] = None,
    metrics: Annotated[str, typer.Option(help="Only these, such as mel,stoi. Default: all.")] = "",
    speech: Annotated[bool, typer.Option("--speech", help="All of it is speech: add STOI and PESQ.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all scores here.")] = None,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write a page with curves and players here.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", help="Processes that measure.", min=1)] = 1,
    device: Device = "cpu",
    engine: Engine = "auto",
) -> None:
    """Score a decoded file, or a model on recordings, beside Opus."""
    from rich.console import Console

    from dacodec.audio import AUDIO_SUFFIXES, read
    from dacodec.cli.plan import passed_over
    from dacodec.evaluation.evaluate import evaluate_codec, evaluate_pair
    from dacodec.evaluation.metrics import METRICS
    from dacodec.evaluation.report import save_html, save_json, table
    from dacodec.files import refuse_same_file
    from dacodec.training.sources import find_units

    keys = [m.key for m in METRICS]
    wanted = metrics.split(",") if metrics else keys
    if set(wanted) - set(keys):
        raise typer.BadParameter(f"metrics are {','.join(keys)}")
    chosen = [m for m in METRICS if m.key in wanted]
    if model is None and len(paths) != 2:
        raise typer.BadParameter("give the original and the decoded file, or --model and a folder")
    units = find_units(paths, split) if model else []
    for output in filter(None, (json, page)):
        for source in {*paths, model or "", *(r.path for unit in units for r in unit.recordings)}:
            refuse_same_file(source, output)
    report: Report
    if model is None:
        reference, decoded = (read(path) for path in paths)
        report = evaluate_pair(reference, decoded, (paths[0], paths[1]), speech=speech, metrics=chosen)
    else:
        codec = codec_loader(device, engine)(model)
        with working("evaluating") as status:
            report = evaluate_codec(
                codec,
                _told(_sounds(units, limit), status),
                n_quantizers=[int(n) for n in n_quantizers.split(",") if n],
                opus_kbps=[float(rate) for rate in opus.split(",") if rate],
                metrics=chosen,
                speech=speech,
                n_jobs=jobs,
            )
    Console().print(table(report))
    if report.codebooks:
        print(
            f"bitrate efficiency {report.codebooks.efficiency:.3f}, codes used", *report.codebooks.used_share
        )
    if model is not None and (others := passed_over(paths, AUDIO_SUFFIXES)):
        report.notes.append(
            "not taken, not audio by suffix: " + ", ".join(f"{n} {s}" for s, n in others.items())
        )
    for line in report.notes:
        print(line)
    for line in report.skipped:
        say(f"skipped {line}")
    if json:
        save_json(report, json)
    if page:
        save_html(report, page)


def _told(sounds: Iterator[Sound | AudioError], status: Status | None) -> Iterator[Sound | AudioError]:
    """``sounds``, showing the current one on the terminal."""
    from rich.text import Text

    for i, sound in enumerate(sounds):
        if status is not None:
            status.update(Text(shown(f"evaluating {i + 1}: {getattr(sound, 'name', 'unreadable')}")))
        yield sound


def _sounds(units: list[Unit], limit: int | None) -> Iterator[Sound | AudioError]:
    import io

    from dacodec.audio import read
    from dacodec.errors import AudioError
    from dacodec.evaluation.evaluate import Sound

    taken: dict[str, int] = {}
    for unit in units:
        for recording in unit.recordings:
            taken[recording.pool] = taken.get(recording.pool, 0) + 1
            if limit is not None and taken[recording.pool] > limit:
                continue
            try:
                yield Sound(recording.name, recording.pool, read(io.BytesIO(recording.content())))
            except AudioError as error:
                yield AudioError(f"{recording.name}: {error}")
