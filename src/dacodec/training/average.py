"""A moving average of the weights (EMA): what a run saves and validates."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a network's parameters, by their names in its state dict. A decay of 0 keeps the
    latest values.

    Args:
        last: prefix of names whose latest values are kept whatever the decay: codes, which may already be moving
            averages, and projections, which may be set from outside.
    """

    def __init__(self, network: nn.Module, decay: float, last: str = "-") -> None:
        self.decay = decay
        self.n_updates = 0
        parameters = network.state_dict(keep_vars=True)
        self._averaged = [name for name in parameters if not name.startswith(last)]
        self._last = [name for name in parameters if name.startswith(last)]
        self._parameters = parameters
        self.tensors = {name: x.detach().clone() for name, x in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        # Early averages forget faster; otherwise they would long remember the random initial weights.
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates)) if self.decay else 0.0
        latest = [self._parameters[name].detach() for name in self._averaged]
        torch._foreach_lerp_([self.tensors[name] for name in self._averaged], latest, 1 - decay)
        if self._last:
            latest = [self._parameters[name].detach() for name in self._last]
            torch._foreach_copy_([self.tensors[name] for name in self._last], latest)
        self.n_updates += 1

    def state_dict(self) -> dict[str, object]:
        return {"n_updates": self.n_updates, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.n_updates = int(state["n_updates"])  # type: ignore[call-overload]
        tensors: dict[str, Tensor] = state["tensors"]  # type: ignore[assignment]
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
