"""Live coding: its cost, the effect of less look-ahead on exactness, and the audible effect of lost frames.

    python bench/live.py [--models builtin 44khz 16khz] [--seconds 5] [--speech] [--smoke]

Work is that of encoder and decoder in one process, in pushes of a few frames, in seconds per second of audio.
The other two tables are for the built-in model on the test clips. Written to bench/results. With --speech it
runs bench/speech.py's measurements instead: a language model heard while it generates.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from run import ROOT, clip, hardware_name, save_model
from speech import speech_table

from dacodec import Codec

PUSH_FRAMES = {"builtin": 1, "44khz": 4, "24khz": 2, "16khz": 2}
LOOKAHEADS_MS = (0, 10, 20, 40, 80)
LOSSES = (0.01, 0.05, 0.2)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(PUSH_FRAMES))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--smoke", action="store_true", help="the work alone, and write no result")
    parser.add_argument("--speech", action="store_true", help="a language model, heard while it speaks")
    arguments = parser.parse_args()
    if arguments.speech:
        models = [name for name in arguments.models if name in ("builtin", "44khz")]
        text = f"# A language model, live, on {hardware_name()}\n\n" + speech_table(
            models[:1] if arguments.smoke else models, 3 if arguments.smoke else 60, arguments.engine
        )
        print(text)
        if not arguments.smoke:
            write_result("speech", text)
        return
    tables = [f"# Live coding on {hardware_name()}, engine {arguments.engine}", work_table(arguments)]
    print("\n\n".join(tables), flush=True)
    if arguments.smoke:
        return
    for table in (lookahead_table, loss_table):
        tables.append(table(arguments))
        print("\n" + tables[-1], flush=True)
    write_result("live", "\n\n".join(tables))


def write_result(name, text):
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    path = ROOT / "bench" / "results" / f"{name}_{hardware_name()}_{date}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")


def work_table(arguments):
    lines = [
        "| model | frames a push | look-ahead, ms: encoder, decoder | encode, s/s | decode, s/s | both | a push, ms: median, 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            config = save_model(name, Path(folder))
            codec = Codec.from_pretrained(folder, engine=arguments.engine)
        audio = clip(config, arguments.seconds)[None]
        n_frames = PUSH_FRAMES.get(name, 4)
        coder, decoder = codec.stream_encoder(codec.sampling_rate), codec.stream_decoder()
        pushes = work(coder, decoder, audio, n_frames * config.hop_length)
        push_seconds = n_frames / config.frames_per_second
        encode, decode, both = (statistics.median(seconds) / push_seconds for seconds in pushes)
        slow = sorted(pushes[2])[round(0.95 * len(pushes[2])) - 1]
        lines.append(
            f"| {name} | {n_frames} ({1000 * n_frames / config.frames_per_second:.0f} ms) "
            f"| {1000 * coder.lookahead_seconds:.0f}, {1000 * decoder.lookahead_seconds:.0f} "
            f"| {encode:.3f} | {decode:.3f} | {both:.3f} | {1000 * both * push_seconds:.0f}, {1000 * slow:.0f} |"
        )
    return "\n".join(lines)


def work(coder, decoder, audio, step):
    """Seconds of every push but the first ones: encoder, decoder, both."""
    times = []
    coding = decoding = None
    for start in range(0, audio.shape[1] - step + 1, step):
        begin = time.perf_counter()
        codes, coding = coder.push(audio[:, start : start + step], coding)
        middle = time.perf_counter()
        _, decoding = decoder.push(codes, decoding)
        end = time.perf_counter()
        times.append((middle - begin, end - middle, end - begin))
    return list(zip(*times[len(times) // 4 :], strict=True))


def clips(seconds=4):
    """The start of every test clip, mono, and its rate."""
    for path in sorted((ROOT / "tests" / "data" / "clips").glob("*.flac")):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        yield audio[: seconds * rate, :1].T, rate


def lookahead_table(arguments):
    """SI-SDR against the exact output, with less look-ahead on one side and the exact one on the other."""
    codec = Codec.from_pretrained("builtin", engine=arguments.engine)
    lines = [
        "| look-ahead | encoder: same codes | SI-SDR, dB: median, least | decoder: SI-SDR, dB: median, least |",
        "|---|---|---|---|",
    ]
    signals = [(audio, rate, codec.encode(audio, rate)) for audio, rate in clips()]
    exact = [codec.decode(encoded) for *_, encoded in signals]
    for milliseconds in LOOKAHEADS_MS:
        same, encoder_sdr, decoder_sdr = [], [], []
        for (audio, rate, encoded), expected in zip(signals, exact, strict=True):
            seconds = milliseconds / 1000
            codes = pushed(codec.stream_encoder(rate, lookahead_seconds=seconds), audio, 441)
            same.append((codes == encoded.codes).mean())
            encoder_sdr.append(si_sdr(codec.decode(replace(encoded, codes=codes)), expected))
            decoded = pushed(codec.stream_decoder(rate, lookahead_seconds=seconds), encoded.codes, 1)
            decoder_sdr.append(si_sdr(decoded, expected))
        lines.append(
            f"| {milliseconds} ms | {np.mean(same):.1%} | {np.median(encoder_sdr):.1f}, {min(encoder_sdr):.1f} "
            f"| {np.median(decoder_sdr):.1f}, {min(decoder_sdr):.1f} |"
        )
    return "\n".join(lines)


def loss_table(arguments):
    """Joints where the largest second difference within 5 ms is over 1.5 times the clean decode's 99.9th percentile."""
    codec = Codec.from_pretrained("builtin", engine=arguments.engine)
    hop, reach = codec.model.hop_length, round(0.005 * codec.sampling_rate)
    signals = []
    for audio, rate in clips(10):
        codes = codec.encode(audio, rate).codes
        bends = second_differences(codec.decode(codec.from_codes(codes)))
        signals.append((codes, bends, 1.5 * np.percentile(bends, 99.9)))
    lines = [
        "| frames lost | joints | over | of these, over without loss too | worst of the others |",
        "|---|---|---|---|---|",
    ]
    for loss in LOSSES:
        joints, over, clean_over, worst = 0, 0, 0, 0.0
        for seed in range(3):
            for codes, clean, limit in signals:
                missing = np.random.default_rng(seed).random(codes.shape[2]) < loss
                missing[0], missing[40] = False, True
                heard = second_differences(pushed(codec.stream_decoder(), codes, 4, missing))
                for frame in np.flatnonzero(np.diff(missing)) + 1:
                    near = np.s_[frame * hop - reach : frame * hop + reach]
                    joints += 1
                    over += heard[near].max() > limit
                    clean_over += heard[near].max() > limit and clean[near].max() > limit
                    if clean[near].max() <= limit:
                        worst = max(worst, heard[near].max() / limit)
        lines.append(f"| {loss:.0%} | {joints} | {over} | {clean_over} | {worst:.2f} of the limit |")
    return "\n".join(lines)


def pushed(coder, signal, step, missing=None):
    """A coder's whole output for ``signal``, in pushes of ``step``."""
    state, parts = None, []
    for start in range(0, signal.shape[-1], step):
        piece = np.s_[start : start + step]
        more = () if missing is None else (missing[piece],)
        output, state = coder.push(signal[..., piece], state, *more)
        parts.append(output)
    return np.concatenate([*parts, coder.flush(state)], axis=-1)


def second_differences(audio):
    return np.abs(np.diff(audio[0], 2))


def si_sdr(audio, expected):
    audio, expected = (x.ravel()[: expected.size].astype(float) for x in (audio, expected))
    target = expected * (audio @ expected) / (expected @ expected)
    return 10 * np.log10((target @ target) / ((audio - target) @ (audio - target)))


if __name__ == "__main__":
    main()
