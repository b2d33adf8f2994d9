"""What the networks are trained to make small. Names and weights of the generator's losses live here alone.

Source: arXiv 2306.06546, section 3.5; the mel loss is ``dacodec.spectra.mel_distance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from dacodec.errors import ConfigError
from dacodec.model.quantizer import Quantized

# What a discriminator made of one batch: for each of its parts the outputs of all layers, the last one the verdict.
Judgement = Sequence[Sequence[Tensor]]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the generator's losses; the defaults are those of the released models."""

    mel: float = 15.0
    feature: float = 2.0
    adversarial: float = 1.0
    commitment: float = 0.25
    codebook: float = 1.0

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of ``losses``, by name; those left out count nothing.

        Raises:
            ConfigError: for a loss that has no weight.
        """
        weights = asdict(self)
        unknown = sorted(set(losses) - set(weights))
        if unknown:
            raise ConfigError(f"losses without a weight: {unknown}; known are {sorted(weights)}")
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def quantizer_losses(quantized: Quantized) -> dict[str, Tensor]:
    """Commitment and codebook loss: each item's over the codebooks that it uses, then the batch's mean."""
    used = quantized.used[:, : quantized.commitment_loss.shape[1]]
    return {
        "commitment": (quantized.commitment_loss * used).sum(1).mean(),
        "codebook": (quantized.codebook_loss * used).sum(1).mean(),
    }


def discriminator_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Least squares: verdicts on real audio towards 1, on generated audio towards 0 (arXiv 1611.04076)."""
    terms = [
        (1 - r[-1].float()).square().mean() + f[-1].float().square().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).sum()


def adversarial_loss(fake: Judgement) -> Tensor:
    """Least squares: the generator wants verdicts of 1 on what it made."""
    terms = [(1 - part[-1].float()).square().mean() for part in fake]
    return torch.stack(terms).sum()


def feature_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Feature matching: mean absolute difference of every layer's outputs but the verdicts (arXiv 1910.06711)."""
    terms = [
        (f - r.detach()).abs().mean(dtype=torch.float32)
        for r_part, f_part in zip(real, fake, strict=True)
        for r, f in zip(r_part[:-1], f_part[:-1], strict=True)
    ]
    return torch.stack(terms).sum()
