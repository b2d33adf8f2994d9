"""The native engine's speed with more threads than cores, and beside other programs.

    python bench/threads.py [--models builtin 44khz] [--smoke]

Times real time, medians (least to most) of alternating rounds. "busy" has one process computing without pause on each
core but one. "twice" is two processes at the same time, their speeds added. The last table is for single pushes of a
live stream. Written to bench/results.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from live import work
from run import ROOT, Worker, clip, cpu_description, hardware_name, save_model

from dacodec import Codec

SECONDS = {"builtin": 10, "44khz": 3}
PUSH_FRAMES = 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(SECONDS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smoke", action="store_true", help="write no result")
    arguments = parser.parse_args()
    sections = [f"# Threads of the native engine on {cpu_description()['model']}, {os.cpu_count()} cores"]
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            sections += [throughput(name, Path(folder), arguments.rounds), pushes(name, Path(folder))]
        print("\n\n".join(sections[-2:]), flush=True)
    if not arguments.smoke:
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        path = ROOT / "bench" / "results" / f"threads_{hardware_name()}_{date}.md"
        path.write_text("\n\n".join(sections) + "\n")


def throughput(name, folder, rounds):
    config, cores = save_model(name, folder), os.cpu_count()
    audio, codes = folder / "audio.npy", folder / "codes.npy"
    signal = clip(config, SECONDS.get(name, 3))
    np.save(audio, signal)
    seconds = len(signal) / config.sampling_rate
    workers = {n: Worker("dacodec", folder, n) for n in (1, cores, 2 * cores, 8 * cores, 32 * cores)}
    second = Worker("dacodec", folder, cores)
    for worker in (*workers.values(), second):
        worker.ask(do="encode", audio=str(audio), codes=str(codes))
        worker.ask(do="decode", codes=str(codes), audio=None)

    def once(worker):
        return [
            seconds / worker.ask(do=what, audio=str(a), codes=str(c))["seconds"]
            for what, a, c in (
                ("encode", audio, folder / f"{id(worker)}.npy"),
                ("decode", folder / "heard.npy", codes),
            )
        ]

    rows = {}
    for _ in range(rounds):
        for n, worker in workers.items():
            rows.setdefault(f"{n} threads", []).append(once(worker))
        with ThreadPoolExecutor(2) as pool:
            both = list(
                pool.map(lambda worker: [once(worker) for _ in range(3)][1], (workers[cores], second))
            )
        rows.setdefault(f"twice {cores} threads", []).append([sum(each) for each in zip(*both, strict=True)])
    with busy():
        for _ in range(rounds):
            for n in (1, cores):
                rows.setdefault(f"{n} threads, busy", []).append(once(workers[n]))
    for worker in (*workers.values(), second):
        worker.close()
    lines = [f"## {name}, {seconds:.1f} s\n", "| | encode | decode |", "|---|---|---|"]
    return "\n".join(
        [
            *lines,
            *(
                f"| {row} | {' | '.join(map(spread, zip(*each, strict=True)))} |"
                for row, each in rows.items()
            ),
        ]
    )


def pushes(name, folder):
    codec = Codec.from_pretrained(folder)
    audio = clip(codec.geometry.config, 8)[None]
    hop = codec.model.hop_length
    lines = [
        f"Pushes of {PUSH_FRAMES} frames, ms: encoder and decoder\n",
        "| | median | 99 % |",
        "|---|---|---|",
    ]
    for what, neighbour in (("idle", contextlib.nullcontext()), ("busy", busy())):
        with neighbour:
            coder, decoder = codec.stream_encoder(codec.sampling_rate), codec.stream_decoder()
            times = sorted(work(coder, decoder, audio, PUSH_FRAMES * hop)[2])
        slow = times[min(len(times) - 1, round(0.99 * len(times)))]
        lines.append(f"| {what} | {1000 * statistics.median(times):.1f} | {1000 * slow:.1f} |")
    return "\n".join(lines)


@contextlib.contextmanager
def busy():
    """A neighbour on all cores but one, on one where there is only one."""
    neighbours = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(max(1, (os.cpu_count() or 1) - 1))
    ]
    time.sleep(0.2)
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
