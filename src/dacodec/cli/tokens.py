"""``dacodec tokens``: look into folders of tokens."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacodec.cli.messages import say

if TYPE_CHECKING:
    from dacodec.corpus.inspecting import Info

app = typer.Typer(help="Folders of tokens.", no_args_is_help=True)


@app.command("info")
def info(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A folder of tokens.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for programs.")] = False,
) -> None:
    """Count hours, rows and tokens, and how each codebook is used. Reads all shards."""
    from dacodec.corpus.inspecting import info as inspect

    found = inspect(folder)
    if as_json:
        print(json.dumps(_record(found)))
    else:
        _print(found)


def _record(info: Info) -> dict[str, Any]:
    model = info.about.model
    return {
        "hours": info.hours,
        "rows": info.rows,
        "tokens": info.tokens,
        "shards": info.shards,
        "inputs": info.inputs,
        "left_out": info.left_out,
        "failed": info.failed,
        "model": model.name,
        "fingerprint": model.fingerprint.hex(),
        "frames_per_second": model.frames_per_second,
        "codebook_size": model.codebook_size,
        "usage": [asdict(one) for one in info.usage],
        "settings": info.about.settings.to_dict(),
    }


def _print(info: Info) -> None:
    model = info.about.model
    rows = {
        "audio": f"{info.hours:.2f} h in {info.rows} rows of {info.inputs} inputs ({info.left_out} left out)",
        "tokens": f"{info.tokens} in {info.shards} shards",
        "model": f"{model.name} ({model.fingerprint.hex()[:16]}), {model.frames_per_second:.2f} frames a second",
        "failed": f"{sum(info.failed.values())}",
    }
    for name, value in rows.items():
        say(f"{name:<10} {value}")
    for reason, n in list(info.failed.items())[:10]:
        say(f"  {n} {reason}")
    for k, usage in enumerate(info.usage):
        say(
            f"codebook {k}: {usage.used} of {model.codebook_size} codes used, perplexity {usage.perplexity:.1f}"
        )
