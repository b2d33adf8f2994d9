"""What is found wrong with a recording while it is read: one place decides what to do about it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from dacodec.audio.arrays import Samples
from dacodec.audio.messages import File, shown
from dacodec.audio.resampling import resample_blocks
from dacodec.errors import AudioError, AudioWarning

Damaged = Literal["error", "keep"]

# Decoded audio [C, n] and its rate in Hz. Rate and channels may change on the way.
RatedBlock = tuple[int, Samples]


@dataclass(frozen=True)
class Damage:
    """A place where sound is lost.

    Args:
        what: a description.
        seconds: where, in the audio that was read.
        missing: samples per channel, at the recording's rate; None if unknown.
    """

    what: str
    seconds: float
    missing: int | None = None


class Findings:
    """The findings about one recording.

    Args:
        damaged: ``"error"`` to raise at the first damage, ``"keep"`` to record it and go on.

    Raises:
        AudioError: if ``damaged`` is neither.
    """

    def __init__(self, file: File, damaged: Damaged) -> None:
        if damaged not in get_args(Damaged):
            raise AudioError(f"damaged is 'error' or 'keep', got {damaged!r}")
        self.keeps = damaged == "keep"
        self.damage: list[Damage] = []
        self._file = file

    def warn(self, what: str) -> None:
        """Note something unusual; no sound in the file is lost."""
        warnings.warn(f"{shown(self._file)}: {what}", AudioWarning, stacklevel=2)

    def damaged(self, what: str, seconds: float, missing: int | None = None) -> None:
        """Note that sound is lost here.

        Raises:
            AudioError: unless damaged recordings are kept.
        """
        if not self.keeps:
            raise AudioError(
                f"{what}; get a complete copy, or take what is there with damaged='keep' (--damaged keep)"
            )
        self.damage.append(Damage(what, seconds, missing))
        self.warn(f"{what} (at {seconds:.2f} s)")

    def account(self, missing: int) -> bool:
        """Record how many samples the last damage cost, once known; False if there is no such damage."""
        if not self.damage or self.damage[-1].missing is not None:
            return False
        self.damage[-1] = replace(self.damage[-1], missing=missing)
        return True


def joined(blocks: Iterator[RatedBlock], sampling_rate: int, channels: int) -> Iterator[Samples]:
    """``blocks`` of any rate and number of channels as blocks [channels, n] at one rate."""
    for rate, run in groupby(blocks, key=lambda block: block[0]):
        same_rate = (_with_channels(samples, channels) for _, samples in run)
        yield from same_rate if rate == sampling_rate else resample_blocks(same_rate, rate, sampling_rate)


def _with_channels(samples: Samples, channels: int) -> Samples:
    """To one channel by averaging, from one by repeating, else by dropping or adding (silent) channels."""
    if len(samples) == channels:
        return samples
    if channels == 1:
        return np.asarray(samples.mean(0, keepdims=True), np.float32)
    if len(samples) == 1:
        return np.repeat(samples, channels, axis=0)
    result = np.zeros((channels, samples.shape[1]), np.float32)
    result[: len(samples)] = samples[:channels]
    return result
