"""Where the native engine's time goes: each layer on its own, and how much of the processor's peak it reaches.

    python bench/layers.py [--models 44khz builtin] [--threads 2] [--smoke]

"executed" counts the multiply-adds performed, "direct" those of plain convolution. The peak is measured
alongside, with multiply-adds in registers on as many threads. Written to bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import run
import torch

from dacodec import DacModel
from dacodec.engine.native.layers import decoder_layers, encoder_layers, from_codebook_vectors
from dacodec.engine.native.library import load_library
from dacodec.engine.native.networks import Network

SECONDS = 4.0
PIECES = 16


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["44khz", "builtin"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="write no result")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sections = [
        f"# Layers of the native engine on {run.cpu_description()['model']}\n",
        f"{arguments.threads} threads, {SECONDS:g} s of audio, {load_library().target}; medians of "
        f"{arguments.rounds}. GFLOP/s count a multiply-add as two.",
    ]
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            run.save_model(name, Path(folder))
            model = DacModel.from_pretrained(folder).eval()
        for part, plans in (
            ("encode", encoder_layers(model.encoder, fast=True)),
            ("decode", decoder_layers(model.decoder, True, from_codebook_vectors(model))),
        ):
            sections.append(section(name, part, model, plans, arguments))
            print(sections[-1], flush=True)
    if not arguments.smoke:
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        path = run.ROOT / "bench" / "results" / f"layers_{run.hardware_name()}_{date}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(sections) + "\n")


def section(name, part, model, plans, arguments):
    config = model.config
    rows = round(SECONDS * config.sampling_rate / config.hop_length) * (
        config.hop_length if part == "encode" else 1
    )
    peak = peak_gflops(arguments.threads)
    lines = [
        f"\n## {name}, {part}: peak {peak:.0f} GFLOP/s\n",
        "| layer | ms per second of audio | share | GFLOP/s direct | executed | of peak |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {}
    for plan in plans:
        seconds, made = time_layer(plan, rows, arguments)
        direct, executed = multiply_adds(plan, rows)
        width = plan.conv.out_channels if plan.kind != "up" else plan.conv.in_channels
        total = kinds.setdefault(f"{plan.kind} {width}", [0.0, 0, 0])
        for i, value in enumerate((seconds, direct, executed)):
            total[i] += value
        rows = made
    everything = [sum(column) for column in zip(*kinds.values(), strict=True)]
    for kind, (seconds, direct, executed) in (*kinds.items(), ("all", everything)):
        speeds = [2 * count / seconds / 1e9 for count in (direct, executed)]
        lines.append(
            f"| {kind} | {1e3 * seconds / SECONDS:.1f} | {seconds / everything[0]:.0%} | {speeds[0]:.0f} | "
            f"{speeds[1]:.0f} | {speeds[1] / peak:.0%} |"
        )
    return "\n".join(lines)


def time_layer(plan, rows, arguments):
    """Median seconds of one layer on ``rows`` rows, and the number of rows it makes."""
    network = Network(load_library(), [plan], arguments.threads)
    # In pieces: in the whole network a layer's output is a queue that is reused, not fresh pages from the
    # system.
    pieces = torch.randn(rows, plan.in_width).split(-(-rows // PIECES))
    room = 2 * len(pieces[0]) * plan.conv.stride
    times = []
    for _ in range(arguments.rounds + 1):
        state, made = network.states(1)[0], 0
        start = time.perf_counter()
        for i, piece in enumerate(pieces):
            made += len(network.push(piece, state, room, arguments.threads, end=i + 1 == len(pieces)))
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), made


def multiply_adds(plan, rows):
    """Of plain convolution, and with Winograd's products."""
    conv = plan.conv
    direct = rows * conv.in_channels * conv.out_channels * conv.kernel
    if plan.kind == "down":
        direct //= conv.stride
    executed = direct
    if plan.winograd:
        outputs, taps = plan.winograd
        products = outputs + taps - 1
        # Seven taps, in two parts: three tiles in four products, less one that is zero.
        executed = direct * (
            products / (outputs * taps) if taps == 2 else (4 * products - 1) / (3 * outputs * 7)
        )
    point = rows * conv.in_channels**2 if plan.kind == "unit" else 0
    return direct + point, executed + point


def peak_gflops(threads):
    library, rounds = load_library(), 20_000_000
    with ThreadPoolExecutor(threads) as pool:
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            counts = list(pool.map(library.multiply_adds, [rounds] * threads))
            best = min(best, time.perf_counter() - start)
    return 2 * sum(counts) / best / 1e9


if __name__ == "__main__":
    main()
