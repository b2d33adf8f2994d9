"""Arrays of audio from elsewhere, checked and converted to float32 [C, T]."""

from __future__ import annotations

import operator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dacodec.config import MAX_SAMPLING_RATE
from dacodec.errors import AudioError

Samples = NDArray[np.float32]

MAX_CHANNELS = 255  # what a .dacz file can hold


def as_float(samples: Any) -> Samples:
    """Any array of audio as float32 [C, T], checked.

    Args:
        samples: [T] or [C, T]: a NumPy array, a torch tensor on any device, anything else that NumPy can
            convert, or lists of numbers. Integer arrays of up to 32 bits are PCM and scaled to [-1, 1)
            (the zero of unsigned ones is at half scale); floats and lists of numbers are taken as they are.

    Returns:
        A contiguous array, which may share memory with ``samples``.

    Raises:
        AudioError: for other shapes or dtypes, empty audio, more than 255 channels, NaN or infinity.
    """
    values = _to_numpy(samples)
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2:
        raise AudioError(f"audio must be [samples] or [channels, samples], got shape {values.shape}")
    channels, length = values.shape
    if not values.size:
        raise AudioError(f"the audio has no samples (shape {values.shape})")
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"{channels} channels of {length} samples are more than {MAX_CHANNELS}; "
            "if the array is [samples, channels], pass its transpose"
        )
    values = np.ascontiguousarray(_to_float32(values))
    check_finite(values)
    return values


def check_finite(samples: Samples, first_sample: int = 0) -> None:
    """Raise AudioError if ``samples`` [C, n] contain NaN or infinity; ``first_sample`` is their position."""
    finite = np.isfinite(samples)
    if not finite.all():
        channel, sample = np.argwhere(~finite)[0]
        raise AudioError(
            f"the audio has {samples[channel, sample]} at sample {first_sample + sample} of channel {channel}; "
            "repair its source, or replace it with numpy.nan_to_num"
        )


def _to_numpy(samples: Any) -> NDArray[Any]:
    if hasattr(samples, "detach") and hasattr(samples, "cpu"):  # a torch tensor, without importing torch
        samples = samples.detach().cpu()
        return cast(NDArray[Any], (samples.float() if samples.is_floating_point() else samples).numpy())
    try:
        values = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise AudioError(f"this is not an array of audio: {error}") from None
    if isinstance(samples, (list, tuple)) and values.dtype == np.int64:
        return values.astype(np.float32)  # whole numbers in a list are still just numbers
    return values


def _to_float32(values: NDArray[Any]) -> Samples:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # becomes infinity, which is reported with its position
            return values.astype(np.float32, copy=False)
    if kind in "iu" and width <= 4:
        full_scale = 2.0 ** (8 * width - 1)
        zero = full_scale if kind == "u" else 0.0
        exact = np.float64 if width == 4 else np.float32
        return ((values.astype(exact) - zero) / full_scale).astype(np.float32, copy=False)
    raise AudioError(f"audio of dtype {values.dtype} has no agreed scale; convert it to float or int16")


def check_sampling_rate(sampling_rate: Any) -> int:
    """``sampling_rate`` as an int.

    Raises:
        AudioError: unless it is a whole number of Hz from 1 to 768000.
    """
    whole = isinstance(sampling_rate, (float, np.floating)) and float(sampling_rate).is_integer()
    try:
        rate = operator.index(int(sampling_rate) if whole else sampling_rate)
    except TypeError:
        rate = 0
    if not 1 <= rate <= MAX_SAMPLING_RATE:
        raise AudioError(
            f"a sampling rate is a whole number of Hz from 1 to {MAX_SAMPLING_RATE}, got {sampling_rate!r}"
        )
    return rate
