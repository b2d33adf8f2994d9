"""Clips gradients at a multiple of their usual norm, and skips steps whose gradients are not finite.

The usual norm is a moving average, so no bound has to be tuned to losses, width and batch. Everything stays on the
device, as a CUDA graph requires.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MEMORY = 0.02  # weight of a step in the moving average
OUTLIER = 1.5  # a step counts as at most this multiple of the bound


class UsualNorm:
    """The usual norm of one network's gradients; 0 means none yet.

    Args:
        times: the bound, as a multiple of the usual norm.
    """

    def __init__(self, device: torch.device, times: float) -> None:
        self.times = times
        self.usual = torch.zeros((), device=device)

    @torch.no_grad()
    def clip(self, gradients: Sequence[Tensor], max_norm: float = torch.inf) -> tuple[Tensor, Tensor]:
        """Clip ``gradients`` in place. Returns their norm before, and whether all were finite (a bool on the device).

        Args:
            max_norm: an additional, fixed bound.
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
