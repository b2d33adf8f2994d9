"""The effect of each part of the ten-minute recipe: the smoke recipe with all parts, and with each left out.

    python bench/training_parts.py RESULTS.jsonl [--seeds 3] [--steps 510]

A run is a fixed number of steps, not of minutes, so that other work on the machine changes nothing; two minutes were 510
steps (docs/training.md). Mel is measured on 32 fixed crops of the ten seconds of training data. Runs already in RESULTS
are not repeated; at the end the table is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from dacodec.training.config import load_config
from dacodec.training.loop import fit

SMOKE = ["--data.validation", '["builtin"]', "--validate_minutes=1000", "--checkpoint_minutes=1000"]
PARTS = [
    "--step=split",
    "--start=scaled",
    "--balance={}",
    "--latents={commitment: 0.15, variance: 0.1}",
    "--codebooks.trained=false",
    "--codebooks.fit_at=[0.2, 0.3, 0.4, 0.5, 0.6]",
    "--codebooks.fit_crops=96",
    "--codebooks.pace=0.01",
    "--generator_optimizer.usual_norms=2",
    "--generator_optimizer.max_grad_norm=1e9",
    "--max_skipped=20",
]
FIRST = {"all parts": PARTS, "smoke as it is": []}
CHANGES = {
    "weights 15, 15, 60 for balance": ["--balance=null", "--losses.loud=15", "--losses.wave=60"],
    "balance, shares 0.75, 0.15, 0.1": ["--balance.shares=[[0, 0.75, 0.15, 0.1]]"],
    "no start in scale": ["--start=plain"],
    "quantizer trained by gradients": [
        "--codebooks.trained=true",
        "--codebooks.pace=0",
        "--codebooks.fit_at=[]",
        "--latents.commitment=0",
    ],
    "codes do not follow": ["--codebooks.pace=0"],
    "no commitment": ["--latents.commitment=0"],
    "variance not held": ["--latents.variance=0"],
    "fitted once": ["--codebooks.fit_at=[]"],
    "clipped at 250": ["--generator_optimizer.usual_norms=0", "--generator_optimizer.max_grad_norm=250"],
    "no waveform loss": ["--balance.shares=[[0, 0.5, 0.5, 0], [0.9, 0.8, 0.2, 0]]"],
    "no loud mel": ["--balance.shares=[[0, 0.65, 0, 0.35], [0.9, 0.84, 0, 0.16]]"],
}
RUNS = FIRST | {name: [*PARTS, *change] for name, change in CHANGES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=510)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(arguments.results)
    done = {(row["name"], row["seed"]) for row in rows}
    for seed in range(arguments.seeds):
        for name in RUNS:
            if (name, seed) not in done:
                rows.append(run(name, seed, arguments.steps))
                with arguments.results.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(name: str, seed: int, steps: int) -> dict:
    with tempfile.TemporaryDirectory() as out:
        changes = [*SMOKE, *RUNS[name], f"--seed={seed}", f"--steps={steps}", "--max_minutes=null"]
        fit(load_config("smoke", changes, out=out))
        log = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    last = [row for row in log if "event" not in row][-8:]
    usage = [row for row in log if row.get("event") == "codebooks"][-1]
    [mel] = [row["mel"] for row in log if row.get("event") == "validation"]
    found = {"name": name, "seed": seed, "steps": steps, "mel": mel, "efficiency": usage["efficiency"]}
    for key in ("error", "wave", "skipped"):
        if key in last[-1]:
            found[key] = statistics.mean(row[key] for row in last if key in row)
    return found


def table(rows: list[dict]) -> str:
    """Means over seeds; of mel the least and the most too."""
    lines = [
        "| run | seeds | mel | least to most | error | wave | efficiency |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in RUNS:
        own = [row for row in rows if row["name"] == name]
        if not own:
            continue
        mels = [row["mel"] for row in own]
        mean = [
            f"{statistics.mean(row[key] for row in own):.{digits}f}" if key in own[0] else "-"
            for key, digits in (("error", 3), ("wave", 2), ("efficiency", 2))
        ]
        spread = f"{min(mels):.2f} to {max(mels):.2f}" if len(mels) > 1 else "-"
        lines.append(f"| {name} | {len(own)} | {statistics.mean(mels):.2f} | {spread} | {' | '.join(mean)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
