"""Random crops of clips, as in the paper: salient, of equal loudness, with a random phase.

Crop number ``i`` depends only on the seed, ``i`` and the list of clips: not on workers, processes or where a run was
interrupted. So the position in the data is a number.

Source: arXiv 2306.06546, section 4.1, and the original's settings (docs/training.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dacodec.audio import Samples, loudness_lufs
from dacodec.errors import ConfigError
from dacodec.training.clips import Clip

LOUDNESS_LUFS = -16.0
SALIENT_LUFS = -40.0
TRIES = 8  # to find a salient crop
# Samples of context on each side for the phase shift, whose response is long.
MARGIN = 2048


def clip_probabilities(
    clips: Sequence[Clip], weights: Mapping[str, float], sampling_rate: int, max_narrowband_share: float
) -> NDArray[np.float64]:
    """The probability of each clip: pools by their weights, clips within a pool by their size.

    Recordings with a lower rate than the model's teach it that there is no treble, so together they get at most
    ``max_narrowband_share``, unless there are no others.

    Raises:
        ConfigError: if no clip is left, or a weight names a pool that does not exist.
    """
    pools = sorted({clip.pool for clip in clips})
    if not pools:
        raise ConfigError("there is no audio to train on; correct data.sources")
    unknown = sorted(set(weights) - set(pools))
    if unknown:
        raise ConfigError(f"data.weights names unknown pools: {unknown}; there are {pools}")
    sizes = {pool: sum(c.size for c in clips if c.pool == pool) for pool in pools}
    wanted = {pool: weights.get(pool, 0.0 if weights else 1.0) for pool in pools}
    shares = np.array([wanted[c.pool] * c.size / sizes[c.pool] for c in clips])
    if not shares.sum() > 0:
        raise ConfigError("all data.weights are 0")
    shares /= shares.sum()
    narrow = np.array([0 < c.source_rate < sampling_rate for c in clips])
    total = shares[narrow].sum()
    if max_narrowband_share < total < 1:
        shares[narrow] *= max_narrowband_share / total
        shares[~narrow] *= (1 - max_narrowband_share) / (1 - total)
    return shares


class Crops(Dataset[Samples]):
    """Crop number i of ``length`` samples, float32 [length].

    Args:
        probabilities: of each clip.
        augment: shift the phase at random; the rest is always done.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        probabilities: NDArray[np.float64],
        sampling_rate: int,
        length: int,
        seed: int,
        augment: bool = True,
    ) -> None:
        self.clips = list(clips)
        self.edges = np.cumsum(probabilities)
        self.sampling_rate = sampling_rate
        self.length = length
        self.seed = seed
        self.augment = augment

    def __getitem__(self, index: int) -> Samples:
        random = np.random.default_rng([self.seed, index])
        for _ in range(TRIES):
            audio = self._draw(random)
            loudness = loudness_lufs(audio[MARGIN : MARGIN + self.length], self.sampling_rate)
            if loudness > SALIENT_LUFS:
                break
        if self.augment:
            audio = shift_phase(audio, random.uniform(-np.pi, np.pi))
        audio = audio[MARGIN : MARGIN + self.length]
        if np.isfinite(loudness):
            audio = audio * np.float32(10 ** ((LOUDNESS_LUFS - loudness) / 20))
        return np.ascontiguousarray(audio / np.float32(max(1.0, np.abs(audio).max())), np.float32)

    def _draw(self, random: np.random.Generator) -> Samples:
        """A crop with margins [MARGIN + length + MARGIN], zero where the clip has no samples."""
        at = random.random() * self.edges[-1]
        clip = self.clips[min(int(np.searchsorted(self.edges, at, "right")), len(self.clips) - 1)]
        whole = None if clip.recording is None else clip.samples(self.sampling_rate)
        available = clip.length if whole is None else len(whole)
        start = int(random.integers(0, max(1, available - self.length + 1)))
        first, last = max(0, start - MARGIN), min(available, start + self.length + MARGIN)
        audio = clip.excerpt(first, last - first) if whole is None else whole[first:last]
        before = MARGIN - (start - first)
        return np.pad(audio, (before, self.length + 2 * MARGIN - before - len(audio)))


def shift_phase(audio: Samples, radians: float) -> Samples:
    """``audio`` [T] with the phase of every frequency shifted; magnitudes stay the same.

    The signal is treated as periodic, so near its ends the result differs from that of a longer signal.
    """
    spectrum = np.fft.rfft(audio) * np.exp(1j * radians)
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)


class _Positions:
    """The crop numbers of each batch of one process, endlessly."""

    def __init__(self, first_step: int, batch_size: int, rank: int, world_size: int) -> None:
        self.first_step, self.batch_size, self.rank, self.world_size = (
            first_step,
            batch_size,
            rank,
            world_size,
        )

    def __iter__(self) -> Iterator[list[int]]:
        own = self.batch_size // self.world_size
        step = self.first_step
        while True:
            first = step * self.batch_size + self.rank * own
            yield list(range(first, first + own))
            step += 1


def batches(
    crops: Crops,
    *,
    first_step: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Tensor]:
    """Batches [this process's share of ``batch_size``, 1, length] from ``first_step`` on, prepared ahead by ``workers``."""
    loader: DataLoader[Samples] = DataLoader(
        crops,
        batch_sampler=_Positions(first_step, batch_size, rank, world_size),
        num_workers=workers,
        collate_fn=_stack,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def _stack(crops: list[Samples]) -> Tensor:
    return torch.from_numpy(np.stack(crops))[:, None]
