"""One measurement of corpus.py, in a process of its own: python bench/corpus_runs.py KIND JSON; prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def engine(folder, model, limit):
    """Codec.encode with one thread, on clips that are decoded already."""
    from dacodec import Codec
    from dacodec.audio import read

    codec = Codec.from_pretrained(model, threads=1)
    sounds = [read(path) for path in sorted(Path(folder).iterdir())[:limit]]
    codec.encode(*sounds[0])
    started = time.perf_counter()
    for sound in sounds:
        codec.encode(*sound)
    elapsed = time.perf_counter() - started
    return {"seconds": sum(s.samples.shape[1] / s.sampling_rate for s in sounds), "elapsed": elapsed}


def tokenize(folder, model, output, **options):
    """The whole run, and its speed after the first results (None if they were all): what starting costs is paid once."""
    from dacodec.corpus.tokenizing import tokenize

    first = []

    def progress(report):
        if not first and report.done:
            first.extend([time.perf_counter(), report.seconds])

    started = time.perf_counter()
    report = tokenize(folder, output, model=model, progress=progress, **options)
    assert not report.failed, report
    elapsed = time.perf_counter() - started
    rest = report.seconds - first[1]
    steady = rest / (started + elapsed - first[0]) if rest else None
    return {"seconds": report.seconds, "elapsed": elapsed, "steady": steady}


def transformers(folder, model, limit):
    """The loop that people write: a file, transformers' model, the next file; all cores."""
    import soundfile
    import torch
    from transformers import DacFeatureExtractor, DacModel

    network = DacModel.from_pretrained(model)
    processor = DacFeatureExtractor(
        sampling_rate=network.config.sampling_rate, hop_length=network.config.hop_length
    )
    paths, seconds = sorted(Path(folder).iterdir())[:limit], 0.0
    started = time.perf_counter()
    for path in paths:
        audio, rate = soundfile.read(path, dtype="float32")
        with torch.no_grad():
            inputs = processor(raw_audio=audio, sampling_rate=rate, return_tensors="pt")
            network.encode(inputs["input_values"]).audio_codes.numpy()
        seconds += len(audio) / rate
    return {"seconds": seconds, "elapsed": time.perf_counter() - started}


if __name__ == "__main__":
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # spares a warning
    kind, arguments = sys.argv[1:]
    result = {"engine": engine, "tokenize": tokenize, "transformers": transformers}[kind](
        **json.loads(arguments)
    )
    print(json.dumps(result))
