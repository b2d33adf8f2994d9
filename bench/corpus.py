"""A whole corpus to tokens, beside the engine alone and beside the loop that people write.

    python bench/corpus.py                               an hour of clips of 1 to 20 s
    python bench/corpus.py --memory-hours 10             memory over ten hours, too
    python bench/corpus.py --minutes 3 --loop-clips 3 --smoke      a rehearsal

Each measurement is a process of its own. Written to bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from run import ROOT, clip, hardware_name, save_model

from dacodec.audio import write
from dacodec.batching.batches import padding_waste, plan_batches
from dacodec.codec import Codec
from dacodec.corpus.tokenizing import JOB_ITEMS

FORMATS = ("wav", "flac", "mp3")
TARGETS = {"local, wav": 0.9, "local, flac": 0.8, "local, mp3": 0.75}
RAY_TARGET = 0.85  # of local
PROCESSES = 2


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin", help="builtin, or a released shape with random weights")
    parser.add_argument("--minutes", type=float, default=60, help="of clips")
    parser.add_argument("--engine-clips", type=int, default=120, help="for the engine alone")
    parser.add_argument("--loop-clips", type=int, default=30, help="for transformers' loop")
    parser.add_argument("--memory-hours", type=float, default=0, help="memory over so many hours: 0 for none")
    parser.add_argument("--smoke", action="store_true", help="write no result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = save_model(arguments.model, folder / "model")
        lengths = make_clips(folder, config, arguments.minutes)
        text = "\n\n".join(tables(folder, lengths, arguments)) + "\n"
    if not arguments.smoke:
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        path = ROOT / "bench" / "results" / f"corpus_{hardware_name()}_{date}.md"
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


def make_clips(folder, config, minutes):
    """Clips of 1 to 20 s out of the test clips, in every format; returns their lengths in samples."""
    source, rate = clip(config, 120), config.sampling_rate
    random, lengths = np.random.default_rng(0), []
    for name in FORMATS:
        (folder / name).mkdir()
    while sum(lengths) < 60 * minutes * rate:
        n = round(random.uniform(1, 20) * rate)
        start = random.integers(0, len(source) - n)
        samples = source[None, start : start + n] * random.uniform(0.3, 1)
        for name in FORMATS:
            write(folder / name / f"{len(lengths):05}.{name}", samples, rate)
        lengths.append(n)
    return lengths


def tables(folder, lengths, arguments):
    n_seconds = sum(lengths) / Codec.from_pretrained(folder / "model").sampling_rate
    yield told(
        f"# Corpora to tokens on {hardware_name()}\n\n{arguments.model}; {len(lengths)} clips of 1 to 20 s, "
        f"{n_seconds / 60:.1f} minutes, 44.1 kHz mono at most; load before: {os.getloadavg()[0]:.1f}."
    )
    yield told(speeds(folder, arguments))
    yield told(f"Padding: {100 * waste(folder, lengths):.1f} % of what is computed.")
    if arguments.memory_hours:
        yield told(memory(folder, arguments.memory_hours, n_seconds))


def speeds(folder, arguments):
    shared = {"model": str(folder / "model")}
    engine = {**shared, "folder": str(folder / "wav"), "limit": arguments.engine_clips}
    alone = measure("engine", **engine)
    together = [start("engine", **engine) for _ in range(PROCESSES)]
    both = [result(process) for process in together]
    twice = PROCESSES * speed(alone)
    rows = [
        ("engine, 1 thread", speed(alone), None, ""),
        (f"engine, {PROCESSES} processes of 1 thread", sum(map(speed, both)), None, ""),
    ]
    local = {}
    for name in FORMATS:
        options = {"folder": str(folder / name), "output": str(folder / f"local-{name}"), **shared}
        local[name] = measure("tokenize", **options, processes=PROCESSES)
        rows.append((f"local, {name}", speed(local[name]), local[name]["steady"], ""))
    options = {"folder": str(folder / "wav"), "output": str(folder / "ray"), **shared}
    on_ray = measure("tokenize", **options, runner="ray")
    of_local = f"{lasting(on_ray) / lasting(local['wav']):.2f} of local, target {RAY_TARGET}"
    rows.append(("Ray on this machine, wav", speed(on_ray), on_ray["steady"], of_local))
    loop = {**shared, "folder": str(folder / "wav"), "limit": arguments.loop_clips}
    rows.append(("transformers, a file at a time", speed(measure("transformers", **loop)), None, ""))
    return table(rows, twice, rows[1][1])


def table(rows, twice, both):
    lines = [
        "Audio seconds a second: of the whole command, and after its first results. Then the latter (the former, where it is the "
        f"only one) as a part of {PROCESSES} times one thread, and of {PROCESSES} processes of the engine alone at a time.\n",
        f"| | whole | after the start | of {PROCESSES} x 1 thread | target | of the engine alone | |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, whole, steady, remark in rows:
        best = steady or whole
        cells = [f"{whole:.1f}", f"{steady:.1f}" if steady else "", f"{best / twice:.2f}"]
        cells += [str(TARGETS.get(name, "")), f"{best / both:.2f}", remark]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def waste(folder, lengths):
    """Of the batches that a run makes: jobs in the order of listing, each cut into batches of like length."""
    codec = Codec.from_pretrained(folder / "model")
    frames = [codec.geometry.frames_needed(n) for n in lengths]
    real = padded = 0
    for i in range(0, len(frames), JOB_ITEMS):
        job = frames[i : i + JOB_ITEMS]
        real += sum(job)
        padded += sum(job) / (1 - padding_waste(job, plan_batches(job, 2 * codec.chunk_frames)))
    return 1 - real / padded


def memory(folder, hours, n_seconds):
    """All processes' memory (PSS) over a run on links to the clips."""
    many = folder / "many"
    for i in range(max(1, round(3600 * hours / n_seconds))):
        (many / f"{i:04}").mkdir(parents=True)
        for path in (folder / "flac").iterdir():
            (many / f"{i:04}" / path.name).symlink_to(path)
    lines = ["| PSS of all processes, MB, at tenths of the run |" + " |" * 10, "|---|" + "---|" * 10]
    for name, options in {"local": {"processes": PROCESSES}, "Ray": {"runner": "ray"}}.items():
        options |= {
            "folder": str(many),
            "model": str(folder / "model"),
            "output": str(folder / f"many-{name}"),
        }
        process, samples = start("tokenize", **options), []
        while process.poll() is None:
            samples.append(sum(map(pss, tree(process.pid))) / 1024)
            time.sleep(1)
        result(process)
        at = [samples[round(i / 10 * (len(samples) - 1))] for i in range(1, 11)]
        lines.append(f"| {name}, {hours:g} hours | {' | '.join(f'{x:.0f}' for x in at)} |")
    return "\n".join(lines)


def tree(pid):
    """``pid`` and its descendants."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def pss(pid):
    """In KB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(kind, **arguments):
    return result(start(kind, **arguments))


def start(kind, **arguments):
    environment = dict(os.environ)
    if kind == "transformers":
        environment.pop("OMP_NUM_THREADS", None)  # it has all cores, as it would
    command = [sys.executable, ROOT / "bench" / "corpus_runs.py", kind, json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def result(process):
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(map(str, process.args))} failed")
    return json.loads(output.splitlines()[-1])


def speed(measured):
    return measured["seconds"] / measured["elapsed"]


def lasting(measured):
    return measured["steady"] or speed(measured)


def told(text):
    print(text + "\n", flush=True)
    return text


if __name__ == "__main__":
    main()
