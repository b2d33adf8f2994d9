"""Measures of how close a decoded signal is to the original, each with its exact definition.

All take ``audio`` and ``reference``, float32 [T] of equal length at ``sampling_rate`` Hz. Metrics whose package
is not installed are left out (``pip install dacodec[eval]``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.audio import Samples, resample
from dacodec.spectra import mel_distance, stft_distance

PESQ_RATE = 16000
VISQOL_RATE = 48000
SHORTEST_SECONDS = 0.5  # the minimum for STOI, PESQ and ViSQOL


@dataclass(frozen=True)
class Metric:
    """A measure and what it means.

    Args:
        key: its name in JSON.
        title: its displayed name, with the unit.
        definition: what exactly is computed.
        better: whether higher or lower is better.
        compute: the value from audio, reference and sampling rate.
        package: the module that it needs.
        speech_only: meaningful for speech only.
    """

    key: str
    title: str
    definition: str
    better: Literal["lower", "higher"]
    compute: Callable[[Samples, Samples, int], float]
    package: str = ""
    speech_only: bool = False


def measure(
    audio: Samples, reference: Samples, sampling_rate: int, metrics: Sequence[Metric], speech: bool
) -> dict[str, float]:
    """The values of ``metrics``, by key, except those undefined for this signal."""
    values = {}
    for metric in metrics:
        too_short = metric.package and len(reference) < SHORTEST_SECONDS * sampling_rate
        if too_short or (metric.speech_only and not speech):
            continue
        value = metric.compute(audio, reference, sampling_rate)
        if np.isfinite(value):
            values[metric.key] = float(value)
    return values


def available(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics whose packages are installed; a warning lists the others."""
    here = [metric for metric in metrics if not metric.package or find_spec(metric.package)]
    missing = ", ".join(metric.key for metric in metrics if metric not in here)
    if missing:
        warnings.warn(
            f"left out because packages are missing: {missing}; pip install dacodec[eval]", stacklevel=3
        )
    return here


def mel(audio: Samples, reference: Samples, sampling_rate: int) -> float:
    return float(mel_distance(_tensor(audio), _tensor(reference), sampling_rate))


def stft(audio: Samples, reference: Samples, sampling_rate: int) -> float:
    return float(stft_distance(_tensor(audio), _tensor(reference)))


def si_sdr_db(audio: Samples, reference: Samples, sampling_rate: int = 0) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, higher is better (arXiv 1811.02508)."""
    estimate, target = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (audio, reference))
    projection = (estimate @ target + 1e-8) / (target @ target + 1e-8) * target
    distortion = estimate - projection
    return float(10 * np.log10((projection @ projection) / (distortion @ distortion + 1e-20) + 1e-8))


def stoi(audio: Samples, reference: Samples, sampling_rate: int) -> float:
    from pystoi import stoi as intelligibility

    return float(intelligibility(reference, audio, sampling_rate))


def pesq(audio: Samples, reference: Samples, sampling_rate: int) -> float:
    from pesq import NoUtterancesError
    from pesq import pesq as quality

    at_rate = [resample(x, sampling_rate, PESQ_RATE)[0] for x in (reference, audio)]
    try:
        return float(quality(PESQ_RATE, *at_rate, "wb"))
    except NoUtterancesError:
        return float("nan")


def visqol(audio: Samples, reference: Samples, sampling_rate: int) -> float:
    at_rate = [resample(x, sampling_rate, VISQOL_RATE)[0].astype(np.float64) for x in (reference, audio)]
    return float(_visqol_api().measure_from_arrays(*at_rate, VISQOL_RATE).moslqo)


@lru_cache(maxsize=1)
def _visqol_api() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


def _tensor(samples: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(samples))


METRICS = (
    Metric(
        "mel",
        "mel distance",
        "DAC's training loss and the paper's 'mel': sum over seven windows (32 to 2048 samples, hop a quarter; 5 to "
        "320 mel bands from 0 Hz to half the rate) of the mean absolute difference of log10 mel magnitudes, "
        "clamped at 1e-5, at the sampling rate of the comparison",
        "lower",
        mel,
    ),
    Metric(
        "stft",
        "STFT distance",
        "the paper's 'STFT': sum over windows of 2048 and 512 samples of the mean absolute difference of "
        "magnitudes and of log10 of squared magnitudes, clamped at 1e-5",
        "lower",
        stft,
    ),
    Metric(
        "si_sdr_db",
        "SI-SDR (dB)",
        "scale-invariant signal-to-distortion ratio of zero-mean signals, arXiv 1811.02508",
        "higher",
        si_sdr_db,
    ),
    Metric(
        "visqol",
        "ViSQOL (MOS)",
        "ViSQOL v3 in audio mode at 48 kHz, as visqol-python computes it",
        "higher",
        visqol,
        "visqol",
    ),
    Metric(
        "stoi",
        "STOI",
        "short-time objective intelligibility (not extended), as pystoi computes it; speech only",
        "higher",
        stoi,
        "pystoi",
        speech_only=True,
    ),
    Metric(
        "pesq",
        "PESQ (MOS)",
        "wideband PESQ, ITU-T P.862.2, at 16 kHz, as the package pesq computes it; speech only",
        "higher",
        pesq,
        "pesq",
        speech_only=True,
    ),
)
