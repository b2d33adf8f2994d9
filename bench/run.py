"""Times encoding and decoding, compared with transformers and descript-audio-codec: same weights, same clips.

    python bench/run.py                                    the 44.1 and 16 kHz shapes, random weights
    python bench/run.py --models builtin --seconds 10
    python bench/run.py --rows dacodec "transformers 4" --rounds 3 --smoke

Each codec runs in a fresh process in its own environment (scripts/oracles/setup.sh makes them), and they take
turns, so that other load on the machine affects all alike. Written to bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import engines
import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from dacodec.audio import resample

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "tests" / "data" / "clips"
WARM_UPS = 2


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=["44khz", "16khz"],
        help="released shapes (16khz 24khz 44khz 44khz-16kbps), or what from_pretrained takes",
    )
    parser.add_argument("--rows", nargs="+", default=engines.DEFAULT_ROWS, choices=engines.ROWS)
    parser.add_argument("--seconds", nargs="+", type=float, default=[1, 10], help="lengths of audio")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--what", default="cpu", help="first part of the result's name")
    parser.add_argument("--smoke", action="store_true", help="write no result")
    arguments = parser.parse_args()

    sections = []
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            config = save_model(model, folder)
            for seconds in arguments.seconds:
                sections.append(bench(model, config, folder, seconds, arguments))
                print(sections[-1], flush=True)
    text = "\n".join([heading(arguments), *sections])
    if arguments.smoke:
        return
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = ROOT / "bench" / "results" / f"{arguments.what}_{hardware_name()}_{date}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    print(f"wrote {path.relative_to(ROOT)}")


def save_model(name, folder):
    """Write a model in Hugging Face's layout; returns its config."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "parity")]
    from cases import RELEASED
    from weights import random_weights

    from dacodec import DacConfig, DacModel

    folder.mkdir(exist_ok=True)
    if name not in RELEASED:
        DacModel.from_pretrained(name).save_pretrained(folder)
        return DacConfig.from_pretrained(folder)
    config = DacConfig(**RELEASED[name])
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DacModel(config).state_dict().items()}
    weights = {key: value.contiguous() for key, value in random_weights(shapes, seed=0).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    return config


def bench(model, config, folder, seconds, arguments):
    """One table: all rows on one model and one length."""
    audio, codes = folder / "audio.npy", folder / "codes.npy"
    np.save(audio, clip(config, seconds))
    rows = {name: Worker(name, folder, arguments.threads) for name in arguments.rows}
    times = {name: {"encode": [], "decode": []} for name in rows}
    made, heard = {}, {}
    for name, worker in rows.items():
        # Results are compared, to be sure that all did the same work; all decode the first one's codes.
        own = folder / "own.npy"
        worker.ask(do="encode", audio=str(audio), codes=str(own))
        made[name] = np.load(own)
        if not codes.exists() or len(made) == 1:
            np.save(codes, made[name])
        worker.ask(do="decode", codes=str(codes), audio=str(own))
        heard[name] = np.load(own)
        for _ in range(WARM_UPS - 1):
            worker.ask(do="encode", audio=str(audio), codes=None)
            worker.ask(do="decode", codes=str(codes), audio=None)
    for turn in range(arguments.rounds):
        order = list(rows)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            times[name]["encode"].append(rows[name].ask(do="encode", audio=str(audio), codes=None)["seconds"])
            times[name]["decode"].append(rows[name].ask(do="decode", codes=str(codes), audio=None)["seconds"])
    versions = {name: worker.versions for name, worker in rows.items()}
    for worker in rows.values():
        worker.close()
    memory = {name: peak_memory(name, folder, arguments.threads, audio, codes) for name in rows}
    return table(model, config, seconds, times, versions, memory, made, heard)


def clip(config, seconds):
    """``seconds`` of the test clips, concatenated and repeated as needed; mono, whole hops."""
    rate, hop = config.sampling_rate, config.hop_length
    wanted = max(1, round(seconds * rate / hop)) * hop
    parts = []
    for path in sorted(CLIPS.glob("*.flac")):
        signal, its_rate = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(resample(signal.mean(1)[: 5 * its_rate], its_rate, rate)[0])
    signal = np.concatenate(parts)
    return np.tile(signal, -(-wanted // len(signal)))[:wanted]


class Worker:
    """A process that runs one row; see worker.py."""

    def __init__(self, name, folder, threads):
        row = engines.ROWS[name]
        python = sys.executable if row.environment is None else ROOT / row.environment / "bin" / "python"
        if not Path(python).exists():
            sys.exit(f"{row.environment} is missing: run scripts/oracles/setup.sh first")
        self.name = name
        self.process = subprocess.Popen(
            [python, ROOT / "bench" / "worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), **row.variables},
        )
        self.versions = self.ask(do="load", row=name, folder=str(folder), threads=threads)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: the process ended ({self.process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            sys.exit(f"{self.name}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peak_memory(name, folder, threads, audio, codes):
    """Peak MB of a fresh process: loaded, after one encoding, and in another one after one decoding."""
    peaks = []
    for request in (
        None,
        {"do": "encode", "audio": str(audio), "codes": None},
        {"do": "decode", "codes": str(codes), "audio": None},
    ):
        worker = Worker(name, folder, threads)
        if request is not None:
            worker.ask(**request)
        peaks.append(worker.ask(do="memory")["peak_rss_mb"])
        worker.close()
    return peaks


def table(model, config, seconds, times, versions, memory, made, heard):
    first = next(iter(times))
    lines = [
        f"\n## {model}: {seconds:g} s at {config.sampling_rate} Hz, {config.n_codebooks} codebooks\n",
        "Seconds: median (least to most). x: its median as a multiple of the first row's. Peak memory in MB of",
        f"fresh processes: loaded / one encoding / one decoding. Against {first}: frames with other codes, and",
        "the largest difference of the audio as a part of its peak.\n",
        "| | version | encode | x | decode | x | times real time (enc / dec) | memory | other codes | audio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in times.items():
        cells = [name, versions[name]["package"]]
        speeds = []
        for what in ("encode", "decode"):
            middle = statistics.median(each[what])
            cells.append(f"{middle:.3f} ({min(each[what]):.3f} to {max(each[what]):.3f})")
            cells.append(f"{middle / statistics.median(times[first][what]):.2f}")
            speeds.append(f"{seconds / middle:.1f}")
        cells.append(" / ".join(speeds))
        cells.append(" / ".join(f"{mb:.0f}" for mb in memory[name]))
        other = (made[name] != made[first]).any(0)
        cells.append(f"{other.sum()} of {other.size}")
        cells.append(f"{np.abs(heard[name] - heard[first]).max() / np.abs(heard[first]).max():.0e}")
        lines.append(f"| {' | '.join(cells)} |")
    builds = {f"{v['torch']}, {v['threads']} threads" for v in versions.values()}
    lines.append(f"\nPyTorch {'; '.join(sorted(builds))}.")
    return "\n".join(lines)


def heading(arguments):
    cpu = cpu_description()
    return "\n".join(
        [
            f"# Encoding and decoding on {cpu['model']}",
            "",
            f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}. {cpu['cores']} cores, "
            f"{cpu['memory_gb']:.0f} GB, {', '.join(cpu['flags']) or 'no vector extensions known'}; "
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}.",
            f"Batch 1, fp32, {arguments.rounds} rounds in turns after {WARM_UPS} warm-ups. Random weights unless the",
            "model is named otherwise; clips of tests/data/clips.",
            f"Load average at the end: {', '.join(f'{x:.1f}' for x in os.getloadavg())} (1 is one busy core; the",
            f"bench itself keeps {arguments.threads} busy).",
            "",
        ]
    )


def cpu_description():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", info)
    flags = re.search(r"flags\s*:\s*(.*)", info)
    known = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile")
    return {
        "model": model[1] if model else platform.processor() or platform.machine(),
        "flags": [flag for flag in known if flags and flag in flags[1].split()],
        "cores": os.cpu_count(),
        "memory_gb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
    }


def hardware_name():
    cpu = cpu_description()
    return re.sub(r"[^a-z0-9]+", "-", f"{cpu['model']} {cpu['cores']} cores".lower()).strip("-")


if __name__ == "__main__":
    main()
