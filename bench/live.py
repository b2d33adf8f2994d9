"""Live coding: seconds of work for a second of audio, in pushes of a few frames, encoder and decoder in one process.

python bench/live.py [--models builtin 44khz 16khz] [--seconds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from run import clip, hardware_name, save_model

from dacodec import Codec

PUSH_FRAMES = {"builtin": 1, "44khz": 4, "24khz": 2, "16khz": 2}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(PUSH_FRAMES))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    print(f"{hardware_name()}, engine {arguments.engine}\n")
    print("| model | frames a push | look-ahead, ms: encoder, decoder | encode, s/s | decode, s/s | both |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            config = save_model(name, Path(folder))
            codec = Codec.from_pretrained(folder, engine=arguments.engine)
        audio = clip(config, arguments.seconds)[None]
        n_frames = PUSH_FRAMES.get(name, 4)
        coder, decoder = codec.stream_encoder(codec.sampling_rate), codec.stream_decoder()
        encode, decode = live(coder, decoder, audio, n_frames * config.hop_length)
        print(
            f"| {name} | {n_frames} ({1000 * n_frames / config.frames_per_second:.0f} ms) "
            f"| {1000 * coder.lookahead_seconds:.0f}, {1000 * decoder.lookahead_seconds:.0f} "
            f"| {encode:.3f} | {decode:.3f} | {encode + decode:.3f} |",
            flush=True,
        )


def live(coder, decoder, audio, step):
    """Median work of a push, as seconds a second of audio, after the first pushes."""
    times = {"encode": [], "decode": []}
    coding = decoding = None
    for start in range(0, audio.shape[1] - step + 1, step):
        begin = time.perf_counter()
        codes, coding = coder.push(audio[:, start : start + step], coding)
        middle = time.perf_counter()
        _, decoding = decoder.push(codes, decoding)
        times["encode"].append(middle - begin)
        times["decode"].append(time.perf_counter() - middle)
    push_seconds = step / coder.codec.sampling_rate
    return [statistics.median(values[len(values) // 4 :]) / push_seconds for values in times.values()]


if __name__ == "__main__":
    main()
