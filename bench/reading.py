"""Reading recordings: whole long files, and a thousand short ones, compared with libsndfile alone.

    python bench/reading.py [--seconds 300] [--files 1000] [--other SRC]

Each cell is the median of --repeats runs after a warm-up, in milliseconds per file; blocks are read and discarded. "soundfile"
reads blocks of 65536 samples by soundfile and turns them to [C, n], which any reader of ours must do. --other is a folder
``src`` of another version of this package, measured in turn with this one in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FORMATS = {"wav": "PCM_16", "wav24": "PCM_24", "flac": "PCM_16", "mp3": None, "ogg": None, "opus": None}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--worker", choices=["dacodec", "soundfile"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(arguments.worker)
        return
    from run import hardware_name

    print(f"{hardware_name()}, {os.cpu_count()} cores; 44.1 kHz stereo, Opus 48 kHz; ms a file\n")
    workers = {"dacodec": start("dacodec", None), "soundfile": start("soundfile", None)}
    if arguments.other:
        workers["other"] = start("dacodec", arguments.other)
    with tempfile.TemporaryDirectory() as folder:
        print(f"| file | {' | '.join(workers)} |\n|---|{'---|' * len(workers)}")
        for name in FORMATS:
            for seconds, count in ((arguments.seconds, 1), (2.0, arguments.files)):
                paths = write_files(Path(folder), name, seconds, count)
                cells = measure(workers, paths, arguments.repeats)
                print(f"| {name}, {seconds:g} s x {count} | {' | '.join(cells)} |", flush=True)
                for path in paths:
                    path.unlink()
    for worker in workers.values():
        worker.stdin.close()


def start(what, source):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    if source:
        environment["PYTHONPATH"] = str(source)
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def measure(workers, paths, repeats):
    """Alternating, so that a slow minute of the machine affects all equally."""
    times = {name: [] for name in workers}
    for turn in range(repeats + 1):
        for name, worker in workers.items():
            worker.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
            worker.stdin.flush()
            seconds = json.loads(worker.stdout.readline())
            if turn:  # the first warms up
                times[name].append(1000 * seconds / len(paths))
    return [f"{statistics.median(own):.3f}" for own in times.values()]


def serve(what):
    read = {"dacodec": by_dacodec, "soundfile": by_soundfile}[what]
    for line in sys.stdin:
        paths = json.loads(line)
        begin = time.perf_counter()
        for path in paths:
            read(path)
        print(time.perf_counter() - begin, flush=True)


def by_dacodec(path):
    from dacodec.audio import AudioReader

    with AudioReader(path) as reader:
        for _ in reader.blocks():
            pass


def by_soundfile(path):
    import soundfile

    with soundfile.SoundFile(path) as file:
        while len(block := file.read(1 << 16, dtype="float32", always_2d=True)):
            np.ascontiguousarray(block.T)


def write_files(folder, name, seconds, count):
    from dacodec.audio import read, resample, write

    clip = read(Path(__file__).parents[1] / "tests" / "data" / "clips" / "music_guitar_em9_44k_st.flac")
    suffix, rate = name.removesuffix("24"), 48000 if name == "opus" else 44100
    samples = resample(clip.samples, clip.sampling_rate, rate)
    length = round(seconds * rate)
    samples = np.tile(samples, (1, -(-length // samples.shape[1])))[:, :length]
    first = folder / f"0.{suffix}"
    write(first, samples, rate, FORMATS[name])
    paths = [first, *(folder / f"{i}.{suffix}" for i in range(1, count))]
    for path in paths[1:]:
        path.write_bytes(first.read_bytes())
    return paths


if __name__ == "__main__":
    main()
