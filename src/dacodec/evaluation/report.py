"""The results of an evaluation: a table in the terminal, JSON, and a self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from pathlib import Path
from typing import Any

from dacodec.audio import Samples, write
from dacodec.errors import shown
from dacodec.evaluation.evaluate import Excerpt, Mean, Report, means
from dacodec.evaluation.metrics import Metric
from dacodec.evaluation.pictures import save_spectrograms
from dacodec.files import new_file

CAVEATS = (
    "ViSQOL mostly measures bandwidth: it hardly notices noise and buzz within the band.",
    "Very quiet clips are at the floor of the mel distance (1e-5), where it cannot tell silence from hiss.",
    "PESQ and STOI were made for telephone speech; they ignore everything above 8 and 5 kHz.",
    "SI-SDR compares waveforms: it penalises a codec that keeps the sound but not the phase.",
    "Opus codes files of a few seconds here, whose headers and tables count towards its kbit/s.",
)
COLOURS = ("#0b6e99", "#c2571a", "#5b8c2a", "#8a4fa3", "#a33b4f")


def table(report: Report) -> Any:
    """A rich table of the means."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    # Narrow enough for 80 columns; long entries wrap.
    title = Text(shown(f"{report.title} at {report.sampling_rate} Hz"))
    result = Table(title=title, box=SIMPLE, padding=(0, 1), pad_edge=False)
    result.add_column("codec", overflow="fold")
    result.add_column("kbit/s", justify="right", no_wrap=True)
    result.add_column("pool", overflow="fold")
    for metric in report.metrics:
        result.add_column(f"{metric.title.split()[0]}{_arrow(metric)}", justify="right", no_wrap=True)
    before = None
    for codec, rate, pool, values in means(report):
        if before not in (None, (codec, rate)):
            result.add_section()
        before = (codec, rate)
        cells = [_number(values.get(m.key)) for m in report.metrics]
        result.add_row(
            Text(shown(codec)),
            _number(rate),
            Text(shown(pool)),
            *cells,
            style="bold" if pool == "all" else None,
        )
    return result


def save_json(report: Report, path: Path) -> None:
    """The scores of every file, the means, and the definition of each number."""
    content = {
        "model": report.title,
        "sampling_rate": report.sampling_rate,
        "metrics": {m.key: {"definition": m.definition, "better": m.better} for m in report.metrics},
        "codebooks": report.codebooks._asdict() if report.codebooks else None,
        "means": [
            {"codec": codec, "bitrate_kbps": _or_none(rate), "pool": pool, **values}
            for codec, rate, pool, values in means(report)
        ],
        "files": [
            {
                "codec": s.codec,
                "bitrate_kbps": _or_none(s.bitrate_kbps),
                "n_codebooks": s.n_codebooks,
                "pool": s.pool,
                "file": s.file,
                **s.values,
            }
            for s in report.scores
        ],
        "skipped": report.skipped,
        "notes": report.notes,
        "caveats": list(CAVEATS),
    }
    with new_file(path, overwrite=True) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def save_html(report: Report, path: Path) -> None:
    """A self-contained page with curves, tables, pictures and players."""
    body = [
        f"<h1>{html.escape(report.title)}</h1>",
        f"<p>Compared at {report.sampling_rate} Hz, mono, -16 LUFS; "
        f"{len({s.file for s in report.scores})} files, means of pools.</p>",
        *([_curves(report)] if any(math.isfinite(s.bitrate_kbps) for s in report.scores) else []),
        "<h2>Scores</h2>",
        _score_table(report, [mean for mean in means(report) if mean.pool == "all"]),
        "<details><summary>Pool by pool</summary>",
        _score_table(report, means(report)),
        "</details>",
        *([_codebooks(report)] if report.codebooks else []),
        "<h2>Listen and look</h2>",
        *map(_excerpt, report.excerpts),
        "<h2>What the numbers mean</h2>",
        "<dl>"
        + "".join(
            f"<dt>{html.escape(m.title)} {_arrow(m)}</dt><dd>{html.escape(m.definition)}</dd>"
            for m in report.metrics
        )
        + "</dl>",
        "<h2>Caveats</h2>",
        "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in CAVEATS) + "</ul>",
        *([_list("Notes", report.notes)] if report.notes else []),
        *([_list("Skipped", report.skipped)] if report.skipped else []),
    ]
    page = _PAGE.replace("{title}", html.escape(report.title)).replace("{body}", "\n".join(body))
    with new_file(path, overwrite=True) as file:
        file.write(page.encode())


def _curves(report: Report) -> str:
    """A small chart per metric: quality over true bitrate, one line per codec."""
    from matplotlib.figure import Figure

    rows = [mean for mean in means(report) if mean.pool == "all"]
    families = list(dict.fromkeys(codec.split(" ")[0] for codec, *_ in rows))
    columns = min(3, len(report.metrics))
    lines = -(-len(report.metrics) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for place, metric in zip(axes, report.metrics, strict=False):
        for family, colour in zip(families, COLOURS, strict=False):
            own = sorted(
                (rate, values[metric.key])
                for codec, rate, _, values in rows
                if codec.split(" ")[0] == family and metric.key in values
            )
            if own:
                place.plot(*zip(*own, strict=True), "o-", color=colour, label=family)
        place.set_title(f"{metric.title} ({metric.better} is better)", fontsize=9)
        place.set_xlabel("kbit/s", fontsize=8)
        place.tick_params(labelsize=8)
        place.grid(alpha=0.3)
    for place in axes[len(report.metrics) :]:
        place.remove()
    axes[0].legend(fontsize=8)
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    return "<h2>Quality over rate</h2>\n" + picture.getvalue()[picture.getvalue().index("<svg") :]


def _score_table(report: Report, rows: list[Mean]) -> str:
    head = "".join(f"<th>{html.escape(m.title)} {_arrow(m)}</th>" for m in report.metrics)
    lines = []
    for codec, rate, pool, values in rows:
        cells = "".join(f"<td>{_number(values.get(m.key))}</td>" for m in report.metrics)
        kind = ' class="all"' if pool == "all" else ""
        lines.append(
            f"<tr{kind}><td>{html.escape(codec)}</td><td>{_number(rate)}</td><td>{html.escape(pool)}</td>{cells}</tr>"
        )
    return f'<table class="scores"><tr><th>codec</th><th>kbit/s</th><th>pool</th>{head}</tr>{"".join(lines)}</table>'


def _codebooks(report: Report) -> str:
    assert report.codebooks is not None
    use = report.codebooks
    head = "".join(f"<th>{i + 1}</th>" for i in range(len(use.entropy_bits)))
    shares = "".join(f"<td>{share:.0%}</td>" for share in use.used_share)
    bits = "".join(f"<td>{b:.2f}</td>" for b in use.entropy_bits)
    return (
        f"<h2>Codebooks</h2><p>Bitrate efficiency {use.efficiency:.3f}: entropy as a fraction of the bits used.</p>"
        f"<table><tr><th>codebook</th>{head}</tr><tr><td>codes used</td>{shares}</tr>"
        f"<tr><td>entropy, bits</td>{bits}</tr></table>"
    )


def _excerpt(excerpt: Excerpt) -> str:
    # Spectrograms of the original and of our best version; players for all.
    titles = list(excerpt.versions)
    ours = [t for t in titles[1:] if not t.startswith("opus")]
    shown = {t: excerpt.versions[t] for t in (titles[0], *ours[-1:])}
    picture = io.BytesIO()
    save_spectrograms(picture, shown, excerpt.sampling_rate)
    players = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<audio controls preload="none" src="{_data("audio/flac", _flac(samples, excerpt.sampling_rate))}"></audio></figure>'
        for title, samples in excerpt.versions.items()
    )
    return (
        f"<h3>{html.escape(excerpt.pool)}: {html.escape(Path(excerpt.file).name)}</h3>"
        f'<div class="players">{players}</div>'
        f'<img alt="spectrograms" src="{_data("image/png", picture.getvalue())}">'
    )


def _flac(samples: Samples, sampling_rate: int) -> bytes:
    file = io.BytesIO()
    write(file, samples, sampling_rate, format="flac")
    return file.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _list(title: str, items: list[str]) -> str:
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _arrow(metric: Metric) -> str:
    return "↓" if metric.better == "lower" else "↑"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: scores</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2; font-weight: 600 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #eee }
th:first-child, td:first-child, .scores td:nth-child(3), .scores th:nth-child(3) { text-align: left }
details tr.all { font-weight: 600; background: #f4f7f9 } summary { margin: 1rem 0; cursor: pointer }
svg, img { max-width: 100%; height: auto }
.players { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem }
figure { margin: 0 } figcaption { font-size: 13px; color: #555 } audio { width: 16rem; height: 2.2rem }
dt { font-weight: 600 } dd { margin: 0 0 .6rem 1rem }
</style>
</head>
<body>
{body}
</body>
</html>
"""
