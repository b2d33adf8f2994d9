"""Runs the tests of engine, parity, streaming and golden files under every instruction set that this processor has, and prints a table.

    python scripts/test_targets.py [pytest arguments]

The native engine's (DACODEC_NATIVE_TARGET) times PyTorch's own (ATEN_CPU_CAPABILITY, and oneDNN's to match).
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from dacodec.engine.native.library import TARGETS, load_library

ROOT = Path(__file__).parents[1]
TESTS = ["tests/engine", "tests/parity", "tests/codec/test_codec_live.py", "tests/test_golden_audio.py"]
ONEDNN = {"avx512": "AVX512_CORE", "avx2": "AVX2", "default": "SSE41"}


def main() -> int:
    best = load_library("generic").best_target().decode()
    natives = TARGETS[TARGETS.index(best) :]
    pytorchs = [native.replace("generic", "default") for native in natives]
    rows = [(native, pytorch, *run(native, pytorch)) for native in natives for pytorch in pytorchs]
    print(f"\n{processor()}\n\n| native engine | PyTorch | result | s |\n|---|---|---|---|")
    for native, pytorch, _, result, seconds in rows:
        print(f"| {native} | {pytorch} | {result} | {seconds:.0f} |")
    return max(code for _, _, code, _, _ in rows)


def run(native: str, pytorch: str) -> tuple[int, str, float]:
    """Exit code, pytest's own summary, seconds."""
    variables = {
        "DACODEC_NATIVE_TARGET": native,
        "ATEN_CPU_CAPABILITY": pytorch,
        "ONEDNN_MAX_CPU_ISA": ONEDNN[pytorch],
        "OMP_NUM_THREADS": "1",
    }
    print(f"== native {native}, PyTorch {pytorch}", flush=True)
    command = [sys.executable, "-m", "pytest", "-n", "auto", "--dist", "worksteal", *TESTS, *sys.argv[1:]]
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout[-3000:], flush=True)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", done.stdout)
    return done.returncode, ", ".join(counts) or f"exit {done.returncode}", time.monotonic() - start


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
