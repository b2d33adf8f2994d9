"""Gradients clipped at a multiple of their usual norm, and steps skipped whose gradients are no numbers.

The usual norm is a moving average, so no bound has to be found that fits losses, width and batch. All of it stays on
the device, as a CUDA graph needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MEMORY = 0.02  # weight of a step in what is usual
OUTLIER = 1.5  # a step counts for at most so many times the bound


class UsualNorm:
    """The usual norm of one network's gradients; 0 is none yet.

    Args:
        times: the bound, in usual norms.
    """

    def __init__(self, device: torch.device, times: float) -> None:
        self.times = times
        self.usual = torch.zeros((), device=device)

    @torch.no_grad()
    def clip(self, gradients: Sequence[Tensor], max_norm: float = torch.inf) -> tuple[Tensor, Tensor]:
        """Scale ``gradients`` in place; their norm before, and whether all were finite (a bool on the device).

        Args:
            max_norm: a bound beside the usual one.
        """
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
        finite = norm.isfinite()
        bound = torch.where(self.usual > 0, self.times * self.usual, norm).clamp(max=max_norm)
        torch._foreach_mul_(list(gradients), (bound / norm.clamp(min=1e-12)).clamp(max=1.0))
        followed = self.usual + MEMORY * (torch.minimum(norm, OUTLIER * bound) - self.usual)
        followed = torch.where(self.usual > 0, followed, norm)
        self.usual.copy_(torch.where(finite, followed, self.usual))
        return norm, finite

    def state_dict(self) -> dict[str, Tensor]:
        return {"usual": self.usual}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.usual.copy_(state["usual"])
