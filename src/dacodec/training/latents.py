"""Extra gradients at the latents: towards their codes (commitment), and towards variance 1.

Shapes: B batch, D latent dimension, F frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Of the pull to variance 1, which reaches three quarters of its strength at a power of 1.6 or 0.6.
SHARPNESS = 2.0


@torch.no_grad()
def pulled(
    gradient: Tensor,
    latents: Tensor,
    coded: Tensor | None,
    whole: Tensor,
    commitment: float,
    variance: float,
    mean: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The latents' ``gradient`` [B, D, F] with both pulls added, and statistics of the latents for the log.

    Commitment pulls towards the latents as quantized by all codebooks together, so that directions that no codebook sees
    fade. (The published loss works within each codebook's space and does not see them.)

    Both pulls are scaled by the norm of the batch's gradient, so they need no weights tuned to the losses.

    Args:
        coded: the quantized ``latents``; None while the codebooks are not in use.
        whole: [B] bool, the items that use all codebooks.
        commitment, variance: strengths, as fractions of the gradient's norm.
        mean: averages a tensor over all processes.
    """
    error = torch.zeros_like(latents) if coded is None else (latents - coded) * whole[:, None, None]
    squares = [x.square().mean() for x in (gradient, latents, error)]
    shares = whole.to(latents.dtype).mean()
    size, power, off, full = mean(torch.stack([*squares, shares])).unbind()
    size = size.sqrt()
    gradient = (
        gradient
        + variance * torch.tanh(SHARPNESS * power.log()) * size / power.sqrt().clamp(min=1e-9) * latents
    )
    report = {"latents": power.sqrt()}
    if coded is not None:
        gradient = gradient + commitment * size / off.sqrt().clamp(min=1e-12) * error
        report["error"] = off / full.clamp(min=1e-3) / power  # as a fraction of the latents' power
    return gradient, report
