"""Codes as moving averages of the latents assigned to them, instead of being trained by gradients.

At a high learning rate, gradients make a chain of nine projections and codebooks diverge within tens of steps. Moving
averages cannot diverge.

Shapes: B batch, N codebooks, K codes in each, F frames, d codebook dimension.

Source: VQ-VAE (arXiv 1711.00937, appendix A.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dacodec.model.quantizer import Quantized, ResidualVectorQuantizer

FEW = 0.05  # a code assigned less often than this per step stays where it is


class MovingCodes:
    """How often each code is assigned, and the sum of its latents, both averaged over steps.

    Args:
        total: sums a tensor over all processes.
    """

    def __init__(
        self, quantizer: ResidualVectorQuantizer, total: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        self.codebooks = [q.codebook.weight for q in quantizer.quantizers]
        self.total = total
        self.counts = torch.zeros(
            len(self.codebooks), self.codebooks[0].shape[0], device=self.codebooks[0].device
        )
        self.sums = torch.zeros(*self.counts.shape, self.codebooks[0].shape[1], device=self.counts.device)
        self.reset()

    @torch.no_grad()
    def reset(self, rows: Sequence[Tensor] | None = None) -> None:
        """Start afresh after the codes, or ``rows`` of each codebook, were set from outside."""
        for k, weight in enumerate(self.codebooks):
            at = slice(None) if rows is None else rows[k]
            self.counts[k, at] = 1.0
            self.sums[k, at] = weight.detach()[at].to(self.sums)

    @torch.no_grad()
    def follow(self, quantized: Quantized, pace: Tensor) -> None:
        """Move the codes towards the means of a batch.

        Args:
            pace: a scalar on the device, 0 to 1: the batch's weight in the averages. With 0 nothing changes, whatever
                the latents are.
        """
        n, _, dim = self.sums.shape
        batch, _, frames = quantized.audio_codes.shape
        codes = quantized.audio_codes.transpose(0, 1).reshape(n, -1)  # [N, B * F]
        points = quantized.projected_latents.view(batch, n, dim, frames).permute(1, 0, 3, 2)
        points = torch.where(pace > 0, points.reshape(n, -1, dim).to(self.sums), 0.0)  # [N, B * F, d]
        counts = torch.zeros_like(self.counts).scatter_add_(1, codes, torch.ones_like(points[..., 0]))
        sums = torch.zeros_like(self.sums).scatter_add_(1, codes[..., None].expand(-1, -1, dim), points)
        both = self.total(torch.cat([counts[..., None], sums], 2))
        self.counts.lerp_(both[..., 0], pace)
        self.sums.lerp_(both[..., 1:], pace)
        means = self.sums / self.counts.clamp(min=1e-6)[..., None]
        moves = (pace > 0) & (self.counts > FEW)
        for k, weight in enumerate(self.codebooks):
            weight.copy_(torch.where(moves[k, :, None], means[k].to(weight), weight))

    def state_dict(self) -> dict[str, Tensor]:
        return {"counts": self.counts, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.counts.copy_(state["counts"])
        self.sums.copy_(state["sums"])
