"""Audio as data loaders return it: with its sampling rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dacodec.audio.arrays import check_sampling_rate
from dacodec.errors import AudioError

# Where objects keep samples and rate: torchcodec's AudioSamples, our own Audio.
_ATTRIBUTES = (("data", "sample_rate"), ("samples", "sampling_rate"))


def unpacked(audio: Any, sampling_rate: Any = None) -> tuple[Any, int]:
    """The array in ``audio``, and its rate in Hz.

    Args:
        audio: an array, or an object that carries its rate: a row of Hugging Face's datasets (``{"array",
            "sampling_rate"}``), a decoder with ``get_all_samples()`` (theirs and torchcodec's), torchcodec's
            ``AudioSamples``, or the result of :func:`dacodec.audio.read`.
        sampling_rate: in Hz; optional if ``audio`` carries it.

    Raises:
        AudioError: if there is no rate, it contradicts the audio's own, or a row has no decoded audio.
    """
    if hasattr(audio, "get_all_samples"):
        audio = audio.get_all_samples()
    array, own_rate = _row(audio) if isinstance(audio, Mapping) else _attributes(audio)
    if own_rate is None:
        if sampling_rate is None:
            raise AudioError("an array does not carry its sampling rate; give it, in Hz")
        return array, check_sampling_rate(sampling_rate)
    own_rate = check_sampling_rate(own_rate)
    if sampling_rate is not None and check_sampling_rate(sampling_rate) != own_rate:
        raise AudioError(
            f"the audio says that it is at {own_rate} Hz, and {sampling_rate} Hz was given; leave the rate out"
        )
    return array, own_rate


def _row(row: Mapping[Any, Any]) -> tuple[Any, Any]:
    if row.get("array") is not None and row.get("sampling_rate") is not None:
        return row["array"], row["sampling_rate"]
    remedy = "give its audio column, such as row['audio']"
    if "bytes" in row or "path" in row:
        remedy = (
            "it is not decoded: cast its column to datasets.Audio(), or read the file with dacodec.audio.read"
        )
    raise AudioError(f"this row has no 'array' and 'sampling_rate', only {sorted(map(str, row))}; {remedy}")


def _attributes(audio: Any) -> tuple[Any, Any]:
    for samples, rate in _ATTRIBUTES:
        if hasattr(audio, samples) and hasattr(audio, rate):
            return getattr(audio, samples), getattr(audio, rate)
    return audio, None
