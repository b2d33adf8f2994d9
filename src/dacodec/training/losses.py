"""The losses. The names and weights of the generator's losses are defined only here.

Shapes: B batch, T samples.

Source: arXiv 2306.06546, section 3.5; the mel loss is ``dacodec.spectra.mel_distance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from dacodec.errors import ConfigError
from dacodec.model.quantizer import Quantized
from dacodec.spectra import MEL_FLOOR, MEL_SCALES, complex_spectrum, mel_spectrum

# A discriminator's output for a batch: for each sub-discriminator the outputs of all layers, the last one the verdict.
Judgement = Sequence[Sequence[Tensor]]

WAVE_WINDOWS = (2048, 512)  # samples, of the complex spectra; windows longer than a crop are left out
QUIET = 1e-3  # mean magnitude below which relative errors stop growing


@dataclass(frozen=True)
class LossWeights:
    """Weights of the generator's losses; the defaults are those of the released models.

    ``loud`` and ``wave`` belong to the split step (``dacodec.training.split``), which uses shares instead when it balances.
    """

    mel: float = 15.0
    loud: float = 0.0
    wave: float = 0.0
    feature: float = 2.0
    adversarial: float = 1.0
    commitment: float = 0.25
    codebook: float = 1.0

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of ``losses``, by name; missing ones are ignored.

        Raises:
            ConfigError: for a loss that has no weight.
        """
        weights = asdict(self)
        unknown = sorted(set(losses) - set(weights))
        if unknown:
            raise ConfigError(f"losses without a weight: {unknown}; known are {sorted(weights)}")
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def mel_losses(fake: Tensor, real: Tensor, sampling_rate: int) -> dict[str, Tensor]:
    """The mel distance of audio [B, T], plain (``mel``) and weighted towards loud bins (``loud``).

    The gradient of the plain distance is one over the magnitude, so nine tenths of it come from bins that are hardly
    audible (docs/log.md). ``loud`` weights each bin by the root of the original's magnitude, with mean 1 per item.
    """
    plain, loud = [], []
    for window_length, n_mels in MEL_SCALES:
        with torch.no_grad():
            wanted = mel_spectrum(real, sampling_rate, window_length, n_mels).clamp(MEL_FLOOR)
            weight = wanted.sqrt()
            weight = weight / weight.mean((1, 2), keepdim=True)
        given = mel_spectrum(fake, sampling_rate, window_length, n_mels).clamp(MEL_FLOOR)
        error = (given.log10() - wanted.log10()).abs()
        plain.append(error.mean())
        loud.append((error * weight).mean())
    return {"mel": torch.stack(plain).sum(), "loud": torch.stack(loud).sum()}


def wave_loss(fake: Tensor, real: Tensor) -> Tensor:
    """The error of audio [B, T] in waveform and complex spectra: mean absolute errors relative to the original.

    It covers the phase, which the mel distance ignores; without it voices buzz.
    """
    terms = [_relative((fake - real).abs(), real.abs())]
    for window_length in (w for w in WAVE_WINDOWS if w <= real.shape[-1]):
        a, b = (complex_spectrum(x, window_length, window_length // 4) for x in (fake, real))
        # The root of the square plus a small constant, because the absolute value has no gradient where both agree.
        distance = torch.view_as_real(a - b).square().sum(-1).add(1e-10).sqrt()
        terms.append(_relative(distance, b.abs()))
    return torch.stack(terms).mean()


def _relative(error: Tensor, magnitude: Tensor) -> Tensor:
    return (error.flatten(1).mean(1) / magnitude.flatten(1).mean(1).clamp(min=QUIET)).mean()


def quantizer_losses(quantized: Quantized) -> dict[str, Tensor]:
    """Commitment and codebook loss: per item over the codebooks that it uses, then averaged over the batch."""
    used = quantized.used[:, : quantized.commitment_loss.shape[1]]
    return {
        "commitment": (quantized.commitment_loss * used).sum(1).mean(),
        "codebook": (quantized.codebook_loss * used).sum(1).mean(),
    }


def discriminator_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Least squares: pushes verdicts on real audio towards 1, on generated audio towards 0 (arXiv 1611.04076)."""
    terms = [
        (1 - r[-1].float()).square().mean() + f[-1].float().square().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).sum()


def adversarial_loss(fake: Judgement) -> Tensor:
    """Least squares: pushes verdicts on generated audio towards 1."""
    terms = [(1 - part[-1].float()).square().mean() for part in fake]
    return torch.stack(terms).sum()


def feature_loss(real: Judgement, fake: Judgement) -> Tensor:
    """Feature matching: mean absolute difference of the outputs of all layers except the verdicts (arXiv 1910.06711)."""
    terms = [
        (f - r.detach()).abs().mean(dtype=torch.float32)
        for r_part, f_part in zip(real, fake, strict=True)
        for r, f in zip(r_part[:-1], f_part[:-1], strict=True)
    ]
    return torch.stack(terms).sum()
