"""Peak memory of coding long recordings, file to file, each in a fresh process: the table must be flat.

    python bench/memory.py --model builtin --minutes 10 60 600
    python bench/memory.py --model 44khz --minutes 10 60

Recordings are the test clips, repeated, at 44.1 kHz, mono. Peaks are of the whole process: Python, PyTorch,
weights and all. "loaded" is a process that codes a tenth of a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from run import clip, hardware_name, save_model

from dacodec import DacConfig
from dacodec.audio import AudioWriter

WORK = """
import resource, sys
from dacodec import Codec
what, model, source, output, engine = sys.argv[1:]
getattr(Codec.from_pretrained(model, engine=engine), what)(source, output, overwrite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin", help="builtin, or a released shape with random weights")
    parser.add_argument("--minutes", nargs="+", type=float, default=[10, 60])
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        config = save_model(arguments.model, folder / "model")
        print(f"{arguments.model}, engine {arguments.engine}, {hardware_name()}, {os.cpu_count()} cores\n")
        print(
            "| audio | encode, MB | x real time | decode, MB | x real time |\n|---|---|---|---|---|",
            flush=True,
        )
        for minutes in [0.1 / 60, *arguments.minutes]:
            write_recording(folder / "in.wav", config, minutes)
            cells = []
            for what, source, output in (
                ("encode_file", "in.wav", "x.dacz"),
                ("decode_file", "x.dacz", "out.wav"),
            ):
                begin = time.monotonic()
                megabytes = measure(what, folder, source, output, arguments.engine)
                cells += [megabytes, f"{60 * minutes / (time.monotonic() - begin):.1f}"]
            name = "loaded" if minutes < 0.01 else f"{minutes:g} min"
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def measure(what, folder, source, output, engine):
    command = [sys.executable, "-c", WORK, what, folder / "model", folder / source, folder / output, engine]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def write_recording(path, config, minutes):
    rate = 44100
    left, piece = round(minutes * 60 * rate), clip(DacConfig(sampling_rate=rate), 30)[None]
    with path.open("wb") as file, AudioWriter(file, rate, 1, n_samples=left) as writer:
        while left:
            block = piece[:, :left]
            writer.write(block)
            left -= block.shape[1]


if __name__ == "__main__":
    main()
