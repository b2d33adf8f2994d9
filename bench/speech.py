"""A language model played while it generates: latency, gaps and exactness, compared with other methods.

The model is a clock that gives a row in Dia's layout at the pace of speech. The decoder is called in the same thread,
since the clock needs no time, with all rows that have arrived meanwhile. Audio goes to a player with a small buffer; a
gap is when the buffer is empty. Another process keeps a core busy.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from run import clip, save_model

from dacodec import Codec
from dacodec.tokens import Undelay, apply

IN_HAND_SECONDS = 0.04
HOPELESS_SECONDS = 5  # behind the clock
CHUNK_FRAMES = 43  # half a second, what Parler-TTS's documentation begins with
OVERLAP_FRAMES = 8


class Exact:
    """Ours: frame by frame."""

    def __init__(self, codec, **options):
        self._decoder, self._state = codec.stream_decoder(**options), None

    def push(self, codes):
        audio, self._state = self._decoder.push(codes[None], self._state)
        return audio[0]

    def flush(self):
        return self._decoder.flush(self._state)[0]


class AllAgain:
    """Decode all frames so far at each chunk; give what is new, except the very end (Parler-TTS)."""

    def __init__(self, codec):
        self._codec, self._codes, self._n_decoded, self._n_given = codec, np.zeros((9, 0), int), 0, 0
        self._held_back = codec.model.hop_length * (CHUNK_FRAMES - 9) // 6

    def push(self, codes):
        self._codes = np.concatenate([self._codes, codes], axis=1)
        if self._codes.shape[1] < self._n_decoded + CHUNK_FRAMES:
            return np.zeros(0, np.float32)
        return self._new(self._held_back)

    def flush(self):
        return self._new(0)

    def _new(self, n_held_back):
        audio = decode(self._codec, self._codes)
        self._n_decoded = self._codes.shape[1]
        given, self._n_given = self._n_given, len(audio) - n_held_back
        return audio[given : self._n_given]


class Windows:
    """Chunks on their own, each overlapping the one before by some frames, cross-faded."""

    def __init__(self, codec):
        self._codec, self._codes, self._tail = codec, np.zeros((9, 0), int), None

    def push(self, codes):
        self._codes = np.concatenate([self._codes, codes], axis=1)
        if self._codes.shape[1] < CHUNK_FRAMES:
            return np.zeros(0, np.float32)
        return self._window(OVERLAP_FRAMES)

    def flush(self):
        return self._window(0)

    def _window(self, n_kept):
        audio = decode(self._codec, self._codes)
        if self._tail is not None:
            n = min(len(self._tail), len(audio))
            gain = (np.arange(n, dtype=np.float32) + 0.5) / max(n, 1)
            audio[:n] = self._tail[:n] * (1 - gain) + audio[:n] * gain
        n_tail = n_kept * self._codec.model.hop_length
        self._codes = self._codes[:, self._codes.shape[1] - n_kept :]
        self._tail = audio[len(audio) - n_tail :]
        return audio[: len(audio) - n_tail]


WAYS = {
    "as here": Exact,
    "as here, no look-ahead": lambda codec: Exact(codec, lookahead_seconds=0),
    f"all again every {CHUNK_FRAMES} frames": AllAgain,
    f"windows of {CHUNK_FRAMES} frames, {OVERLAP_FRAMES} in common": Windows,
}


def speech_table(models, seconds, engine):
    lines = [
        f"| model | how | first sound, ms after the first row | gaps in {seconds} s | error, dB |",
        "|---|---|---|---|---|",
    ]
    for name in models:
        codec, codes = codec_and_codes(name, seconds, engine)
        exact = decode(codec, codes)
        for way, make in WAYS.items():
            make(codec).push(codes[:, :1])  # first calls are slow
            with busy_neighbour():
                first, gaps, audio = listen(make(codec), apply(codes, "dia"), codec)
            lines.append(f"| {name} | {way} | {1000 * first:.0f} | {gaps} | {error_db(audio, exact)} |")
    return "\n".join(lines)


def codec_and_codes(name, seconds, engine):
    with tempfile.TemporaryDirectory() as folder:
        config = save_model(name, Path(folder))
        codec = Codec.from_pretrained(folder, engine=engine)
    audio = clip(config, min(seconds, 10))
    n_frames = round(seconds * codec.model.frames_per_second)
    codes = codec.encode(audio, codec.sampling_rate).codes[0]
    return codec, np.tile(codes, -(-n_frames // codes.shape[1]))[:, :n_frames]


def decode(codec, codes):
    return np.array(codec.decode(codec.from_codes(codes)), np.float32)


def listen(way, rows, codec):
    """Seconds to the first sound; gaps, or when it was hopeless; the audio."""
    undelay, state = Undelay("dia"), None
    period = 1 / codec.model.frames_per_second
    pieces, first, gaps, played_until = [], None, 0, 0.0
    started = time.perf_counter()
    n, rows = 0, rows[1:]  # the first holds nothing
    while n < len(rows):
        time.sleep(max(0, started + n * period - time.perf_counter()))
        n_due = min(len(rows), int((time.perf_counter() - started) / period) + 1)
        codes, state, _ = undelay.push(rows[n:n_due], state)
        n = max(n, n_due)
        if not codes.shape[1]:
            continue
        audio = way.push(codes)
        now = time.perf_counter() - started
        if now - n * period > HOPELESS_SECONDS:
            return first or now, f"hopeless after {n * period:.0f} s", None
        if not len(audio):
            continue
        pieces.append(audio)
        if first is None:
            first = now
            played_until = now + IN_HAND_SECONDS
        elif now > played_until:
            gaps += 1
            played_until = now + IN_HAND_SECONDS
        played_until += len(audio) / codec.sampling_rate
    pieces.append(way.flush())
    return first, gaps, np.concatenate(pieces)


def error_db(audio, exact):
    if audio is None:
        return "-"
    difference = audio[: len(exact)] - exact[: len(audio)]
    if np.abs(difference).max() < 1e-4:
        return "none"
    return f"{10 * np.log10(np.square(difference).sum() / np.square(exact).sum()):.1f}"


@contextlib.contextmanager
def busy_neighbour():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()
