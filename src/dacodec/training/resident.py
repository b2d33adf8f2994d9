"""All audio on the device as one tensor of 16-bit samples, from which the crops of a step are gathered.

Decoding, augmenting and copying crop by crop cannot keep up with a step of 15 ms. Ten hours at 44.1 kHz are 3 GB, and the
start and level of a crop are only a few numbers.

A batch depends only on the seed, the step and the list of clips, so the position in the data is a number, as in
``dacodec.training.crops``.

Shapes: B crops, T samples per crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacodec.audio import Samples, loudness_gain
from dacodec.errors import ConfigError
from dacodec.training.clips import Clip

GRID = 1024  # samples between the possible starts that are tested for salience
SALIENT_POWER = 1e-4  # least mean square of a crop, with its clip at LOUDNESS_LUFS
LOUDNESS_LUFS = -16.0  # of a clip
AHEAD = 64  # steps whose places are copied to the device together


@dataclass(frozen=True)
class ResidentConfig:
    """Audio on the device.

    Args:
        gb: maximum size in gigabytes, at two bytes per sample.
        gain_share: fraction of the crops whose level is changed, so that the model learns quiet sounds too.
        gain_db: lowest and highest change.
        mixed_share: fraction of the crops with a second one mixed in, because the data rarely has several sounds at once.
        mixed_db: its lowest and highest level.
    """

    gb: float = 8.0
    gain_share: float = 0.35
    gain_db: tuple[float, float] = (-15.0, 3.0)
    mixed_share: float = 0.12
    mixed_db: tuple[float, float] = (-18.0, 0.0)


class Places(NamedTuple):
    """The starts and gains of crops; the second crop is mixed into the first."""

    starts: Tensor  # [..., B, 2] int64, samples
    gains: Tensor  # [..., B, 2], 0 for no second crop; negative gains invert the polarity


class Resident:
    """Clips on the device.

    Args:
        probabilities: of each clip.
        length: of a crop, in samples.

    Raises:
        ConfigError: if the clips do not fit, or were not decoded.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        probabilities: NDArray[np.float64],
        sampling_rate: int,
        length: int,
        config: ResidentConfig,
        device: torch.device,
    ) -> None:
        if any(clip.recording is not None for clip in clips):
            raise ConfigError("audio can only be resident if all of it is decoded; raise data.cache_gb")
        lengths = np.array([max(clip.length, length) for clip in clips])  # short ones end in silence
        if 2 * lengths.sum() > config.gb * 1e9:
            raise ConfigError(
                f"{2 * lengths.sum() / 1e9:.1f} GB of audio exceed data.resident.gb; raise it, or leave "
                "data.resident out"
            )
        self.config, self.length, self.device = config, length, device
        self.audio = torch.zeros(int(lengths.sum()), dtype=torch.int16, device=device)  # [all samples]
        self.edges = np.cumsum(probabilities)
        begins = np.cumsum(lengths) - lengths
        for clip, begin in zip(clips, begins, strict=True):
            self.audio[begin : begin + clip.length] = torch.from_numpy(np.array(clip.stored())).to(device)
        measured = [measure(clip, sampling_rate, length) for clip in clips]
        self.gains = np.array([m.gain for m in measured])
        self.ends = begins + lengths - length  # last possible start of a crop in each clip
        counts = np.array([len(m.starts) for m in measured])
        self.starts = np.concatenate([begin + m.starts for begin, m in zip(begins, measured, strict=True)])
        self.counts, self.first = counts, np.cumsum(counts) - counts
        self._offsets = torch.arange(length, device=device)

    def places(self, seed: int, step: int, batch_size: int) -> Places:
        """The places of the whole batch of ``step``, on the CPU."""
        config, random = self.config, np.random.default_rng([seed, step])
        at = random.random((batch_size, 2)) * self.edges[-1]
        clips = np.minimum(np.searchsorted(self.edges, at, "right"), len(self.edges) - 1)
        index = self.first[clips] + (random.random((batch_size, 2)) * self.counts[clips]).astype(np.int64)
        starts = np.minimum(self.starts[index] + random.integers(0, GRID, (batch_size, 2)), self.ends[clips])
        chosen = random.random((batch_size, 2)) < (config.gain_share, config.mixed_share)
        low, high = np.transpose([config.gain_db, config.mixed_db])
        level = 10 ** (random.uniform(low, high, (batch_size, 2)) / 20)
        level = np.where(chosen, level, (1.0, 0.0)) * np.sign(random.random((batch_size, 2)) - 0.5)
        return Places(
            torch.from_numpy(starts), torch.from_numpy((level * self.gains[clips]).astype(np.float32))
        )

    def gather(self, places: Places) -> Tensor:
        """Crops [B, 1, T], float32, within -1..1."""
        starts, gains = (x.to(self.device) for x in places)
        stored = self.audio[starts[..., None] + self._offsets]  # [B, 2, T]
        audio = (stored * gains[..., None]).sum(1, keepdim=True)
        return audio / audio.abs().amax(-1, keepdim=True).clamp(min=1.0)

    def batches(
        self, seed: int, first_step: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[Tensor]:
        """This process's share of each batch [share, 1, T] from ``first_step`` on."""
        own = batch_size // world_size
        while True:
            ahead = [self.places(seed, step, batch_size) for step in range(first_step, first_step + AHEAD)]
            mine = slice(rank * own, (rank + 1) * own)
            starts, gains = (torch.stack(x)[:, mine].to(self.device) for x in zip(*ahead, strict=True))
            for i in range(AHEAD):
                yield self.gather(Places(starts[i], gains[i]))
            first_step += AHEAD


class Measured(NamedTuple):
    """What measuring a clip determines."""

    gain: float  # factor for its stored samples
    starts: NDArray[np.int64]  # where crops may start


@cache  # when new clips arrive, the others need not be measured again
def measure(clip: Clip, sampling_rate: int, length: int) -> Measured:
    """The gain that brings a clip to LOUDNESS_LUFS, or to full scale if that is less, and where it is salient."""
    samples = clip.samples(sampling_rate)
    gain = loudness_gain(samples[None], sampling_rate, LOUDNESS_LUFS)
    gain = min(gain, 1.0 / max(1e-9, float(np.abs(samples).max())))
    return Measured(gain * clip.scale, salient_starts(gain * samples, max(clip.length, length), length))


def salient_starts(samples: Samples, size: int, length: int) -> NDArray[np.int64]:
    """Where in a clip [T] of ``size`` samples (including silence at its end) crops start that are not too quiet."""
    energy = np.zeros(size + 1)
    np.cumsum(np.square(samples, dtype=np.float64), out=energy[1 : len(samples) + 1])
    energy[len(samples) + 1 :] = energy[len(samples)]
    starts = np.arange(0, size - length + 1, GRID)
    power = (energy[starts + length] - energy[starts]) / length
    loud = starts[power > SALIENT_POWER]
    return loud if len(loud) else starts[[int(power.argmax())]]
