"""From file to file compared with arrays in memory: the cost of reading, resampling, entropy coding and writing.

    python bench/files.py [--model builtin] [--seconds 300] [--rounds 5] [--smoke]

Times real time, medians of alternating rounds, with the fraction of the arrays' speed. Then resampling alone, on one
thread, compared with soxr if that is installed. Written to bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from run import ROOT, clip, hardware_name, save_model

from dacodec import Codec
from dacodec.audio import compiled, resample, resample_blocks, write

FILES = [(1, "wav"), (1, "flac"), (0.5, "flac"), (48000 / 44100, "wav")]  # rate as a multiple of the model's
PAIRS = [
    (22050, 44100),
    (44100, 22050),
    (48000, 44100),
    (44100, 48000),
    (16000, 44100),
    (44100, 16000),
    (96000, 44100),
    (22050, 44101),
]
BLOCK = 1 << 16


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="write no result")
    arguments = parser.parse_args()
    tables = [f"# From file to file on {hardware_name()}, {torch.get_num_threads()} threads"]
    for table in (coding_table, resampling_table):
        tables.append(table(arguments))
        print(tables[-1] + "\n", flush=True)
    if not arguments.smoke:
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        path = ROOT / "bench" / "results" / f"files_{hardware_name()}_{date}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n\n".join(tables) + "\n")


def coding_table(arguments):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = save_model(arguments.model, folder / "model")
        codec = Codec.from_pretrained(folder / "model")
        rate = codec.sampling_rate
        samples = clip(config, arguments.seconds)
        encoded = codec.encode(samples, rate)
        runs = {"array": (lambda: codec.encode(samples, rate), lambda: codec.decode(encoded))}
        for share, suffix in FILES:
            own = round(share * rate)
            path, coded, made = (folder / f"{own}.{x}" for x in (suffix, f"{suffix}.dacz", f"out.{suffix}"))
            write(path, resample(samples, rate, own), own)
            codec.encode_file(path, coded)
            runs[f"{suffix}, {own} Hz"] = (
                lambda path=path, coded=coded: codec.encode_file(path, coded, overwrite=True),
                lambda coded=coded, made=made: codec.decode_file(coded, made, overwrite=True),
            )
        lines = [
            f"{arguments.model}, {arguments.seconds:g} s mono, medians of {arguments.rounds} rounds in turns.\n",
            "| | encode, times real time | of the array's | decode | of the array's |",
            "|---|---|---|---|---|",
        ]
        for name, speeds in medians(runs, arguments.rounds, arguments.seconds).items():
            if name == "array":
                arrays = speeds
            cells = [f"{mine:.0f} | {mine / its:.2f}" for mine, its in zip(speeds, arrays, strict=True)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)


def medians(runs, rounds, seconds):
    """Times real time of each of the functions under each name."""
    times = {name: [[] for _ in functions] for name, functions in runs.items()}
    for turn in range(rounds):
        order = list(runs)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            for function, its_times in zip(runs[name], times[name], strict=True):
                its_times.append(timed(function))
    return {name: [seconds / statistics.median(each) for each in all_] for name, all_ in times.items()}


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def resampling_table(arguments):
    """In blocks, as files are."""
    rows = {"dacodec": ours}
    if compiled.is_built():
        rows["dacodec without a compiler (NumPy's threads)"] = numpy_only
    if importlib.util.find_spec("soxr"):
        rows["soxr HQ"] = soxr
    lines = [
        f"Resampling alone, mono, blocks of {BLOCK}, one thread: times real time, medians.\n",
        f"| Hz | {' | '.join(rows)} |",
        f"|---|{'---|' * len(rows)}",
    ]
    for from_rate, to_rate in PAIRS:
        seconds = 60 if from_rate * 2 != to_rate - 1 else 2  # the last has too many phases for NumPy
        signal = np.random.default_rng(0).standard_normal((1, seconds * from_rate)).astype(np.float32)
        blocks = np.split(signal, range(BLOCK, signal.shape[1], BLOCK), axis=1)
        runs = {
            name: (lambda row=row: row(blocks[:], from_rate, to_rate),)  # noqa: B023
            for name, row in rows.items()
        }
        medians(runs, 1, seconds)  # taps are made at first
        speeds = medians(runs, arguments.rounds, seconds)
        lines.append(f"| {from_rate} to {to_rate} | {' | '.join(f'{x:.0f}' for (x,) in speeds.values())} |")
    return "\n".join(lines)


def ours(blocks, from_rate, to_rate):
    for _ in resample_blocks(blocks, from_rate, to_rate):
        pass


def numpy_only(blocks, from_rate, to_rate):
    is_built, compiled.is_built = compiled.is_built, lambda: False
    try:
        ours(blocks, from_rate, to_rate)
    finally:
        compiled.is_built = is_built


def soxr(blocks, from_rate, to_rate):
    import soxr

    stream = soxr.ResampleStream(from_rate, to_rate, 1)
    for i, block in enumerate(blocks):
        stream.resample_chunk(block[0], last=i + 1 == len(blocks))


if __name__ == "__main__":
    main()
