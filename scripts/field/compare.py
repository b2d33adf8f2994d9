#!/usr/bin/env python
"""Read every file below a folder with dacodec and with FFmpeg's command line, and compare the lengths.

    python scripts/field/compare.py FOLDER [--all] [--keep] [-j N]

Needs ffmpeg and ffprobe in the path. Each file is one of

    same       same length, up to delay and padding left by one of the two, and similar
    shorter    ours is shorter than FFmpeg's by more than that
    longer     ours is longer
    different  same length, other samples
    ours       FFmpeg refuses it
    theirs     we refuse it, FFmpeg reads it
    neither    both refuse it

Same and neither are only counted; the rest is listed with lengths in samples and messages. --all lists everything.
"""

from __future__ import annotations

import argparse
import subprocess
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacodec.audio import read
from dacodec.audio.formats import AUDIO_SUFFIXES
from dacodec.errors import AudioError, AudioWarning

SLACK = 4 * 1152  # samples of encoder delay and padding that FFmpeg may leave or remove


class Row(NamedTuple):
    verdict: str
    path: str
    ours: str
    theirs: str
    notes: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="list every file")
    parser.add_argument("--keep", action="store_true", help="read with damaged='keep'")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    arguments = parser.parse_args()
    paths = sorted(
        p for p in arguments.folder.rglob("*") if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES
    )
    damaged = "keep" if arguments.keep else "error"
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(compare, paths, [damaged] * len(paths), chunksize=4))
    print("| verdict | file | ours | FFmpeg | what was said |\n|---|---|---|---|---|")
    for row in sorted(rows):
        if arguments.all or row.verdict not in ("same", "neither"):
            path = Path(row.path).relative_to(arguments.folder)
            print(f"| {row.verdict} | {path} | {row.ours} | {row.theirs} | {row.notes} |")
    print(
        "\n" + ", ".join(f"{n} {verdict}" for verdict, n in sorted(Counter(r.verdict for r in rows).items()))
    )


def compare(path: Path, damaged: str) -> Row:
    notes: list[str] = []
    ours = theirs = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        try:
            ours = read(path, damaged=damaged)
        except AudioError as error:
            notes.append(str(error).replace(f"cannot read {path}: ", ""))
    notes += [str(w.message).replace(f"{path}: ", "warned: ") for w in caught]
    theirs, complaint = by_ffmpeg(path)
    if complaint:
        notes.append(f"FFmpeg: {complaint}")
    if ours is None or theirs is None:
        verdict = "neither" if ours is theirs else "theirs" if ours is None else "ours"
    else:
        verdict = judged(ours.samples, ours.sampling_rate, *theirs)
    return Row(verdict, str(path), shown(ours), shown(theirs), "; ".join(notes).replace("|", "/"))


def by_ffmpeg(path: Path) -> tuple[tuple[np.ndarray, int] | None, str]:
    """Samples [C, T] and rate of the default track, and the first thing that FFmpeg says on its error output."""
    name = f"file:{path}"
    probe = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            "a",
            "-show_entries",
            "stream=sample_rate,channels",
            "-of",
            "csv=p=0",
            name,
        ],
        capture_output=True,
    )
    facts = probe.stdout.decode().split("\n")[0].strip().split(",")[:2]
    if len(facts) < 2 or not all(fact.isdigit() and int(fact) for fact in facts):
        return None, first_line(probe.stderr)
    rate, channels = map(int, facts)
    run = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-i", name, "-map", "0:a:0", "-f", "f32le", "-"],
        capture_output=True,
    )
    samples = np.frombuffer(run.stdout[: len(run.stdout) // 4 * 4], np.float32)
    samples = samples[: len(samples) // channels * channels].reshape(-1, channels).T
    return (samples, rate) if samples.size else None, first_line(run.stderr)


def first_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return f"{lines[0]} (and {len(lines) - 1} lines)" if len(lines) > 1 else "".join(lines)


def judged(ours: np.ndarray, our_rate: int, theirs: np.ndarray, their_rate: int) -> str:
    if our_rate != their_rate or len(ours) != len(theirs):
        # Opus is read at its own rate; then the lengths in seconds must agree.
        ratio = our_rate / their_rate
        return (
            "same"
            if len(ours) == len(theirs) and abs(ours.shape[1] - theirs.shape[1] * ratio) < SLACK
            else "different"
        )
    difference = ours.shape[1] - theirs.shape[1]
    if abs(difference) > SLACK:
        return "shorter" if difference < 0 else "longer"
    return "same" if alike(ours, theirs) else "different"


def alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Within 1e-3 of full scale, at the shift of at most ``SLACK`` samples where they fit best."""
    length = min(ours.shape[1], theirs.shape[1])
    if length and np.abs(ours[:, :length] - theirs[:, :length]).max() < 1e-3:
        return True
    a, b = ours.mean(0)[: 1 << 18], theirs.mean(0)[: 1 << 18]
    size = 1 << (len(a) + len(b) - 1).bit_length()
    fit = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    shift = int(np.argmax(fit))
    shift -= size if shift > size // 2 else 0
    if abs(shift) > SLACK:
        return False
    ours, theirs = ours[:, max(0, shift) :], theirs[:, max(0, -shift) :]
    length = min(ours.shape[1], theirs.shape[1])
    return bool(length) and float(np.quantile(np.abs(ours[:, :length] - theirs[:, :length]), 0.99)) < 1e-2


def shown(audio: tuple[np.ndarray, int] | None) -> str:
    return "-" if audio is None else f"{audio[0].shape[1]} x {audio[0].shape[0]} at {audio[1]}"


if __name__ == "__main__":
    main()
