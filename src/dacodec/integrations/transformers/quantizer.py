"""The quantizer with transformers' interface: results in its order, losses summed over the codebooks.

Shapes: B batch, D latent dimension, F frames, K codebooks in use, d codebook dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.config import DacConfig
from dacodec.model import quantizer as core


class Quantized(NamedTuple):
    """What :class:`ResidualVectorQuantizer` returns."""

    quantized_representation: Tensor  # [B, D, F]
    audio_codes: Tensor  # [B, K, F]
    projected_latents: Tensor  # [B, K * d, F]
    commitment_loss: Tensor  # [B], the batch's mean over the codebooks that the item uses
    codebook_loss: Tensor  # [B], likewise


class VectorQuantizer(core.VectorQuantizer):
    def __init__(self, config: DacConfig) -> None:
        super().__init__(config)
        self.codebook_dim = config.codebook_dim

    def search(self, latents: Tensor) -> Tensor:
        # Calls the layer, so that weights offloaded by accelerate or extended by PEFT are used.
        every = torch.arange(self.codebook.num_embeddings, device=latents.device)
        return core.nearest(latents, self.codebook(every))

    def forward(self, hidden_state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """From ``hidden_state`` [B, D, F]: quantized [B, D, F], two losses, codes [B, F], projected latents [B, d, F]."""
        before = self.in_proj(hidden_state)
        after, codes = self.decode_latents(before)
        commitment_loss = F.mse_loss(before, after.detach())
        codebook_loss = F.mse_loss(after, before.detach())
        straight_through = before + (after - before).detach()
        return self.out_proj(straight_through), commitment_loss, codebook_loss, codes, before

    def decode_latents(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """The codebook vectors [B, d, F] nearest to projected latents [B, d, F], and their codes [B, F]."""
        codes = self.search(hidden_states)
        return self.embed(codes).to(hidden_states.dtype), codes


class ResidualVectorQuantizer(core.ResidualVectorQuantizer):
    def __init__(self, config: DacConfig) -> None:
        super().__init__(config)
        self.quantizers = nn.ModuleList(  # type: ignore[assignment]
            VectorQuantizer(config) for _ in range(config.n_codebooks)
        )

    def forward(self, hidden_state: Tensor, n_quantizers: int | Tensor | None = None) -> Quantized:  # type: ignore[override]
        quantized = super().forward(hidden_state, n_quantizers)
        return Quantized(
            *quantized[:3],
            _summed(quantized.commitment_loss, quantized.used),
            _summed(quantized.codebook_loss, quantized.used),
        )


def _summed(loss: Tensor, used: Tensor) -> Tensor:
    """Losses [B, K] per item and codebook as [B], like transformers; see ``dacodec.model.DacModel``."""
    return (loss.mean(0) * used).sum(1)
