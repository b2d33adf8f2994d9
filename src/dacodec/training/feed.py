"""The audio of a run: prepared, weighted, and extended by new tars during the run."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacodec.config import DacConfig
from dacodec.training.clips import Clip, ClipStore
from dacodec.training.config import TrainConfig
from dacodec.training.crops import Crops, batches, clip_probabilities
from dacodec.training.resident import Resident, measure
from dacodec.training.sources import Unit, find_units

VALIDATION_SECONDS = 2.0


class Feed:
    """The clips that crops are taken from; new tars are decoded in the background."""

    def __init__(self, fabric: Any, config: TrainConfig, shape: DacConfig, known: list[str]) -> None:
        self.fabric, self.config, self.shape = fabric, config, shape
        self.crop_length = (
            max(1, round(config.data.crop_seconds * shape.frames_per_second)) * shape.hop_length
        )
        folder = Path(config.data.cache or Path(config.out) / "decoded")
        self.store = ClipStore(
            folder, shape.sampling_rate, config.data.cache_gb, config.data.decode_processes
        )
        units = find_units(config.data.sources)
        self.validation_units = find_units(config.data.validation, "val") if config.data.validation else []
        if config.data.begin_early:
            units = self._first(units)
        self._prepare([*units, *self.validation_units])
        # A resumed run keeps the order of its units, because it determines the numbers of the crops.
        order = {key: i for i, key in enumerate(known)}
        self._set_units(sorted(units, key=lambda u: order.get(u.key, len(order))))
        self._newer: list[Unit] = []
        self._closing = threading.Event()
        self._scanner = threading.Thread(target=self._scan, daemon=True)
        if fabric.is_global_zero and config.data.rescan_seconds:
            self._scanner.start()

    def _first(self, units: list[Unit]) -> list[Unit]:
        """The units to start with: loose files and tars already decoded; if there are none, one tar."""
        wait = [unit for unit in units if _is_tar(unit) and not self.store.holds(unit)]
        if len(wait) == len(units):
            del wait[:1]
        return self.fabric.broadcast([unit for unit in units if unit not in wait])  # type: ignore[no-any-return]

    def _prepare(self, units: list[Unit]) -> None:
        """The first process on each machine decodes, the others wait."""
        if self.fabric.local_rank == 0:
            self.store.prepare(units)
        self.fabric.barrier()

    def _set_units(self, units: list[Unit]) -> None:
        self.units = units
        self.keys = [unit.key for unit in units]
        loaded = [self.store.load(unit) for unit in units]
        self.clips: list[Clip] = [clip for clips, _ in loaded for clip in clips]
        self.problems = [problem for _, problems in loaded for problem in problems]
        data = self.config.data
        weights, rate = data.weights, self.shape.sampling_rate
        if data.begin_early:
            there = {clip.pool for clip in self.clips}
            weights = {pool: weight for pool, weight in weights.items() if pool in there}
        self.probabilities = clip_probabilities(self.clips, weights, rate, data.max_narrowband_share)
        self.resident: Resident | None = None
        if data.resident:
            self.resident = Resident(
                self.clips, self.probabilities, rate, self.crop_length, data.resident, self.fabric.device
            )

    def batches(self, first_step: int) -> Iterator[Tensor]:
        """This process's share of each batch [share, 1, T] from ``first_step`` on."""
        size, rank, world = self.config.batch_size, self.fabric.global_rank, self.fabric.world_size
        if self.resident is not None:
            return self.resident.batches(self.config.seed, first_step, size, rank, world)
        return batches(
            self._crops(self.config.seed),
            first_step=first_step,
            batch_size=size,
            rank=rank,
            world_size=world,
            workers=self.config.data.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def some(self, first: int, n: int) -> Tensor:
        """``n`` crops [n, 1, T] on the device, none of them from a batch, the same in every process."""
        if self.resident is not None:
            return self.resident.gather(self.resident.places(self.config.seed + 1, first, n))
        crops = self._crops(self.config.seed + 1)
        found = [torch.from_numpy(crops[i]) for i in range(first, first + n)]
        return torch.stack(found)[:, None].to(self.fabric.device)

    def _crops(self, seed: int) -> Crops:
        return Crops(self.clips, self.probabilities, self.shape.sampling_rate, self.crop_length, seed)

    def validation(self) -> Crops | None:
        """Crops of the validation data."""
        clips = [clip for unit in self.validation_units for clip in self.store.load(unit)[0]]
        if not clips:
            return None
        rate = self.shape.sampling_rate
        length = math.ceil(VALIDATION_SECONDS * self.shape.frames_per_second) * self.shape.hop_length
        return Crops(clips, clip_probabilities(clips, {}, rate, 1.0), rate, length, seed=0, augment=False)

    def describe(self) -> str:
        shares: dict[str, float] = {}
        for clip, p in zip(self.clips, self.probabilities, strict=True):
            shares[clip.pool] = shares.get(clip.pool, 0.0) + p
        hours = sum(c.length for c in self.clips) / self.shape.sampling_rate / 3600
        pools = ", ".join(f"{pool} {share:.0%}" for pool, share in sorted(shares.items()))
        return f"{len(self.clips)} clips, {hours:.2f} h decoded, {len(self.problems)} skipped; {pools}"

    def newer(self) -> list[Unit]:
        """Units that arrived since the last call, already decoded."""
        newer, self._newer = self._newer, []
        return newer

    def take_in(self, units: list[Unit]) -> None:
        self._prepare(units)
        replaced = {unit.origin for unit in units}
        self._set_units([u for u in self.units if u.origin not in replaced] + units)

    def _scan(self) -> None:
        known = set(self.keys)
        sizes: dict[str, int] = {}
        while not self._closing.wait(self.config.data.rescan_seconds):
            for path, unit in self._new_tars(known):
                # A tar that is still being copied grows, or its end is damaged.
                size = path.stat().st_size
                if sizes.get(str(path)) == size and not unit.problem:
                    self.store.prepare([unit])
                    if self.config.data.resident:  # measured here rather than while the run waits
                        for clip in self.store.load(unit)[0]:
                            measure(clip, self.shape.sampling_rate, self.crop_length)
                    known.add(unit.key)
                    self._newer = [*self._newer, unit]
                sizes[str(path)] = size

    def _new_tars(self, known: set[str]) -> list[tuple[Path, Unit]]:
        tars = [u for u in find_units(self.config.data.sources) if _is_tar(u)]
        return [(Path(u.origin), u) for u in tars if u.key not in known]

    def close(self) -> None:
        self._closing.set()


def _is_tar(unit: Unit) -> bool:
    return unit.origin.endswith(".tar")
