"""The model as it is exported: audio to codes, and codes to audio, each in one graph.

Shapes: B batch, T samples, F frames, K codebooks in use, N codebooks, D latent dimension, d codebook dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.model import DacModel
from dacodec.model.quantizer import ResidualVectorQuantizer


class CodesOfLatents(nn.Module):
    """Latents [B, D, F] to codes [B, N, F] (int64).

    The codes with fewer codebooks are the first ones of these, so the graph needs no input for their number.
    """

    def __init__(self, quantizer: ResidualVectorQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, latents: Tensor) -> Tensor:
        codes, residual = [], latents
        for quantizer in self.quantizer.quantizers:
            codes.append(quantizer.search(quantizer.in_proj(residual)))
            residual = residual - quantizer.out_proj(quantizer.embed(codes[-1]))
        return torch.stack(codes, 1)


class LatentsOfCodes(nn.Module):
    """Codes [B, K, F] to latents [B, D, F], with K a dynamic axis: one gather and one product for all codebooks."""

    rows: Tensor  # [N * codebook_size, d]
    projections: Tensor  # [N, d, D]
    biases: Tensor  # [N, D]

    def __init__(self, quantizer: ResidualVectorQuantizer) -> None:
        super().__init__()
        each = list(quantizer.quantizers)
        self.codebook_size = quantizer.codebook_size
        self.register_buffer("rows", torch.cat([q.codebook.weight for q in each]).detach())
        projections = torch.stack([q.out_proj.weight[:, :, 0].T for q in each])
        self.register_buffer("projections", projections.detach())
        biases = torch.stack([q.out_proj.bias for q in each])  # type: ignore[misc]
        self.register_buffer("biases", biases.detach())

    def forward(self, codes: Tensor) -> Tensor:
        used = torch.arange(codes.shape[1], device=codes.device)  # selected by index: a slice would fix K
        vectors = F.embedding(codes + self.codebook_size * used[:, None], self.rows)  # [B, K, F, d]
        stacked = vectors.transpose(2, 3).flatten(1, 2)  # [B, K * d, F]
        projection = self.projections.index_select(0, used).flatten(0, 1).T  # [D, K * d]
        bias = self.biases.index_select(0, used).sum(0)
        return projection @ stacked + bias[:, None]


class Encoder(nn.Module):
    """Audio [B, 1, T], T a multiple of the hop, to codes [B, N, F] (int64)."""

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        self.network = model.encoder
        self.search = CodesOfLatents(model.quantizer)

    def forward(self, audio: Tensor) -> Tensor:
        return self.search(self.network(audio))


class Decoder(nn.Module):
    """Codes [B, K, F] (int64), K from 1 to N, to audio [B, 1, T], T as ``Geometry.samples`` says."""

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        self.embed = LatentsOfCodes(model.quantizer)
        self.network = model.decoder

    def forward(self, codes: Tensor) -> Tensor:
        return self.network(self.embed(codes))
