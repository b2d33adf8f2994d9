"""Maintains the codebooks during a run: fits them to the data and revives unused codes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from dacodec.model import DacModel
from dacodec.training.average import Average
from dacodec.training.codebooks import CodebookHealth, Usage, initialise_codebooks
from dacodec.training.config import TrainConfig
from dacodec.training.moving import MovingCodes


class CodebookCare:
    """Sets codes between steps, and resets what the optimiser, the averages and the counts hold about them.

    Args:
        crops: takes a number and a length, gives crops [n, 1, T] on the device, the same in every process.
        state: of the generator's optimiser, by parameter.
        codes: the moving averages, if codes are moving averages.
    """

    def __init__(
        self,
        fabric: Any,
        config: TrainConfig,
        model: DacModel,
        average: Average,
        crops: Callable[[int, int], Tensor],
        autocast: AbstractContextManager[None],
        state: Any,
        codes: MovingCodes | None,
    ) -> None:
        self.fabric, self.config, self.model, self.average = fabric, config, model, average
        self.crops, self.autocast, self.state, self.codes = crops, autocast, state, codes
        self.health = CodebookHealth(model.config, fabric.device)
        self.fits = 0  # entries of ``fit_at`` that are done

    def fit_if_due(self, step: int, progress: float) -> bool:
        """Before ``step``: fits the codebooks of a new model, or refits them because the encoder has changed."""
        config = self.config.codebooks
        first = step > 0 and step == config.initialise_step and not self.config.init
        passed = sum(share <= progress for share in config.fit_at)
        again = passed > self.fits and (bool(self.config.init) or step >= config.initialise_step)
        if first or again:
            self._fit()
        if again:
            self.fits = passed
        return first or again

    @torch.no_grad()
    def _fit(self) -> None:
        """All processes get the same result, from the same crops."""
        n = self.config.codebooks.fit_crops
        parts = torch.split(self.crops(self.fits * n, n), self.config.batch_size)
        with self.autocast:
            latents = [self.model.encoder(part) for part in parts]
        initialise_codebooks(self.model, torch.cat(latents).float(), self.config.seed)
        # What the optimiser, the averages and the counts remember belongs to the old codebooks.
        for parameter in self.model.quantizer.parameters():
            for tensor in self.state.get(parameter, {}).values():
                tensor.zero_()
        for name, tensor in self.model.state_dict().items():
            if name.startswith("quantizer."):
                self.average.tensors[name].copy_(tensor)
        self.health.forget()
        if self.codes is not None:
            self.codes.reset()

    @torch.no_grad()
    def revive_if_due(self, step: int, progress: float) -> Usage | None:
        """Between steps, before ``step``: measures how codes were used and revives unused ones."""
        health, config = self.health, self.config.codebooks
        if not config.revive_steps or step % config.revive_steps:
            return None
        health.counts.copy_(self.fabric.all_reduce(health.counts, reduce_op="sum"))
        usage = health.usage()
        if progress < config.revive_until and health.n_kept:
            revived = health.revive(self.model, config.revive_at_once, self.config.seed + step)
            for i, (quantizer, rows) in enumerate(zip(self.model.quantizer.quantizers, revived, strict=True)):
                weight = quantizer.codebook.weight.detach()
                weight.copy_(self.fabric.broadcast(weight))
                self.average.tensors[f"quantizer.quantizers.{i}.codebook.weight"][rows] = weight[rows]
            if self.codes is not None:
                self.codes.reset(revived)
        health.reset_counts()
        return usage

    def state_dict(self) -> dict[str, Any]:
        return {"health": self.health.state_dict(), "fits": self.fits}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.health.load_state_dict(state["health"])
        self.fits = state.get("fits", 0)
