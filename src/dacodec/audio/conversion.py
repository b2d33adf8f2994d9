"""Recordings as a model codes them, and decoded audio as the recording was given. Blocks are [C, T]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dacodec.audio import blocks as mixing
from dacodec.audio.arrays import Samples
from dacodec.audio.loudness import LoudnessMeter
from dacodec.audio.resampling import resample_blocks
from dacodec.errors import AudioError


def at_rate(
    model_rate: int, blocks: Iterable[Samples], sampling_rate: int, gain: float = 1.0, mid_side: bool = False
) -> Iterator[Samples]:
    """A recording in blocks [C, T] as a model at ``model_rate`` codes it."""
    blocks = mixing.mid_side(blocks) if mid_side else blocks
    scaled = blocks if gain == 1 else (block * np.float32(gain) for block in blocks)
    yield from resample_blocks(scaled, sampling_rate, model_rate)


def as_given(blocks: Iterable[Samples], gain: float, mid_side: bool) -> Iterator[Samples]:
    """Decoded audio [C, T] as the recording was given: left and right, at its own level."""
    for block in mixing.left_right(blocks) if mid_side else blocks:
        yield block / np.float32(gain)


def check_mid_side(channels: int, mid_side: bool) -> None:
    """Raise AudioError if mid/side coding is asked for with other than two channels."""
    if mid_side and channels != 2:
        raise AudioError(f"mid/side coding needs two channels, this has {channels}; leave mid_side out")


def gain_to(blocks: Iterable[Samples], channels: int, sampling_rate: int, target_lufs: float) -> float:
    """One gain for all channels that brings a signal in blocks [C, T] to ``target_lufs`` (ITU-R BS.1770).

    Limited so that nothing clips, and rounded to float32 as in the file; 1.0 for silence.

    Raises:
        AudioError: if the target is more than 120 dB away.
    """
    meter, peak = LoudnessMeter(channels, sampling_rate), 0.0
    for block in blocks:
        meter.push(block)
        peak = max(peak, float(np.abs(block).max(initial=0)))
    loudness = meter.integrated_lufs()
    if not np.isfinite(loudness):
        return 1.0
    gain = min(10 ** ((target_lufs - loudness) / 20), max(1.0, 1 / peak))
    if not 2.0**-20 <= gain <= 2.0**20:
        raise AudioError(f"{target_lufs} LUFS is too far from the audio's {loudness:.1f}")
    return float(np.float32(gain))
