"""What is asked of the latents themselves, beside what the audio asks: to be where the codes are, and of variance 1.

Shapes: B batch, D latent dimension, F frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SHARPNESS = 2.0  # how soon the pull to variance 1 is whole: three quarters of it at a power of 1.6 or 0.6


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
    """The latents' ``gradient`` [B, D, F] with both pulls added, and what there is to tell of the latents.

    Commitment pulls towards what all codebooks together make of the latents, so that directions which no codebook
    looks at fade. (The published one works within each codebook's space and knows nothing of them.)

    Both pulls are measured by the norm of the batch's gradient, so they need no weights that fit the losses.

    Args:
        coded: what the codebooks make of ``latents``; None while they are not in use.
        whole: [B] bool, the items that use all codebooks.
        commitment, variance: shares of the gradient's norm.
        mean: of a tensor over all processes.
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
        report["error"] = off / full.clamp(min=1e-3) / power  # of the latents' power
    return gradient, report
