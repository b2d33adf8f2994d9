"""Opus for comparison: by its own programs ``opusenc`` and ``opusdec`` (opus-tools), or else by the libopus in PyAV."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dacodec.audio import Samples, read, resample, write

_RATE = 48000  # Hz, Opus's own


class OpusResult(NamedTuple):
    samples: Samples  # [T]
    bitrate_kbps: float  # of the whole Ogg file


def _tools() -> bool:
    return bool(shutil.which("opusenc") and shutil.which("opusdec"))


def opus_name() -> str:
    """The Opus encoder in use, with its version."""
    if _tools():
        said = subprocess.run(["opusenc", "--version"], capture_output=True, text=True, check=True).stdout
        return next(iter(said.splitlines()), "opusenc").removeprefix("opusenc ").strip()
    import av

    return f"libopus in PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def through_opus(samples: Samples, sampling_rate: int, kbps: float) -> OpusResult:
    """Mono ``samples`` [T] coded by Opus at about ``kbps`` kbit/s, and decoded."""
    coded, decoded = (_by_tools if _tools() else _by_pyav)(samples, sampling_rate, kbps)
    back = resample(decoded.samples[:1], decoded.sampling_rate, sampling_rate)[0]
    return OpusResult(back, 8 * len(coded) / 1000 / (len(samples) / sampling_rate))


def _by_tools(samples: Samples, sampling_rate: int, kbps: float) -> tuple[bytes, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded.opus", "out.wav"))
        write(source, samples, sampling_rate, "PCM_16")
        options = ["--quiet", "--discard-comments", "--padding", "0", "--bitrate", f"{kbps:g}"]
        _call("opusenc", *options, str(source), str(coded))
        _call("opusdec", "--quiet", "--rate", str(_RATE), str(coded), str(decoded))
        return coded.read_bytes(), read(decoded)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _by_pyav(samples: Samples, sampling_rate: int, kbps: float) -> tuple[bytes, Any]:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream: Any = container.add_stream("libopus", rate=_RATE, layout="mono")
        stream.bit_rate = round(1000 * kbps)
        at_rate = resample(samples, sampling_rate, _RATE)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(at_rate), format="flt", layout="mono")
        frame.sample_rate, frame.pts = _RATE, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue(), read(io.BytesIO(file.getvalue()))
