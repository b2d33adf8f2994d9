"""Opus beside us, by its own programs ``opusenc`` and ``opusdec`` (opus-tools)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from dacodec.audio import Samples, read, resample, write


class OpusResult(NamedTuple):
    samples: Samples  # [T]
    bitrate_kbps: float  # of the Ogg file, which is what one would send


def opus_is_installed() -> bool:
    return bool(shutil.which("opusenc") and shutil.which("opusdec"))


def through_opus(samples: Samples, sampling_rate: int, kbps: float) -> OpusResult:
    """Mono ``samples`` [T] coded by Opus at about ``kbps`` kbit/s, and decoded."""
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded.opus", "out.wav"))
        write(source, samples, sampling_rate, "PCM_16")
        _call(
            "opusenc",
            "--quiet",
            "--discard-comments",
            "--padding",
            "0",
            "--bitrate",
            f"{kbps:g}",
            str(source),
            str(coded),
        )
        _call("opusdec", "--quiet", "--rate", "48000", str(coded), str(decoded))
        result = read(decoded)
        bits = coded.stat().st_size * 8
    back = resample(result.samples[:1], result.sampling_rate, sampling_rate)[0]
    return OpusResult(back, bits / 1000 / (len(samples) / sampling_rate))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
