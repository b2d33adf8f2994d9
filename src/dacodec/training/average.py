"""A moving average of the weights (EMA): what a run saves and validates."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Of a network's parameters, by their names in its state dict. A decay of 0 keeps just the last ones."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self._parameters = list(network.state_dict(keep_vars=True).values())
        self.tensors = {name: x.detach().clone() for name, x in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        # Young averages forget faster, or the random start would stay in them for long.
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates)) if self.decay else 0.0
        latest = [p.detach() for p in self._parameters]
        torch._foreach_lerp_(list(self.tensors.values()), latest, 1 - decay)
        self.n_updates += 1

    def state_dict(self) -> dict[str, object]:
        return {"n_updates": self.n_updates, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.n_updates = int(state["n_updates"])  # type: ignore[call-overload]
        tensors: dict[str, Tensor] = state["tensors"]  # type: ignore[assignment]
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
