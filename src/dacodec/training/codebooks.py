"""Codebook health: initialisation from the data, revival of unused codes, usage and entropy.

Shapes: B batch, N codebooks, K codes in each, F frames, d codebook dimension, R latents kept.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.model.quantizer import Quantized
from dacodec.training.weight_norm import set_weight

KMEANS_ROUNDS = 10
REACH = 2.8  # distance of the latents from the origin of a codebook's space, in units of their rms
RESERVOIR = 4096
KEPT_A_STEP = 128  # latents per codebook


class Usage(NamedTuple):
    """How the codes were used since the last reset."""

    used_share: float  # of all codes, those used at least once
    entropy_bits: list[float]  # of each codebook
    efficiency: float  # mean entropy as a fraction of a code's capacity


class CodebookHealth:
    """Counts the codes used and keeps a sample of recent latents, without synchronising with the device."""

    def __init__(self, config: DacConfig, device: torch.device) -> None:
        self.bits_per_code = config.bits_per_code
        self.counts = torch.zeros(config.n_codebooks, config.codebook_size, device=device)
        self.latents = torch.zeros(config.n_codebooks, RESERVOIR, config.codebook_dim, device=device)
        self.n_kept = 0  # in total; the newest RESERVOIR of them are stored

    @torch.no_grad()
    def observe(self, quantized: Quantized) -> None:
        """Record the quantizer's result for a batch."""
        codes = quantized.audio_codes.transpose(0, 1).flatten(1)  # [N, B * F]
        self.counts.scatter_add_(1, codes, torch.ones_like(codes, dtype=self.counts.dtype))
        n, _, d = self.latents.shape
        projected = quantized.projected_latents
        latents = projected.view(len(projected), n, d, -1)  # [B, N, d, F]
        latents = latents.permute(1, 0, 3, 2).flatten(1, 2).to(self.latents.dtype)  # [N, B * F, d]
        some = latents[:, :: max(1, latents.shape[1] // KEPT_A_STEP)][:, :KEPT_A_STEP]
        at = (self.n_kept + torch.arange(some.shape[1], device=some.device)) % RESERVOIR
        self.latents[:, at] = some
        self.n_kept += some.shape[1]

    def usage(self) -> Usage:
        share = self.counts / self.counts.sum(1, keepdim=True).clamp(min=1)
        entropy = -(share * share.clamp(min=1e-12).log2()).sum(1)
        return Usage(
            float((self.counts > 0).float().mean()),
            [round(bits, 3) for bits in entropy.tolist()],
            float(entropy.mean()) / self.bits_per_code,
        )

    @torch.no_grad()
    def revive(self, model: DacModel, at_once: int, seed: int) -> list[Tensor]:
        """Set unused codes, at most ``at_once`` per codebook, to recent latents.

        Codes are found by direction alone, so a revived code gets the usual length of those in use. A longer one
        would also be chosen for small latents in its direction, and the losses would spike.

        Returns:
            For each codebook, the indices that were set.
        """
        random = torch.Generator().manual_seed(seed)
        revived = []
        for counts, latents, quantizer in zip(
            self.counts, self.latents[:, : self.n_kept], model.quantizer.quantizers, strict=True
        ):
            weight = quantizer.codebook.weight
            dead = (counts == 0).nonzero()[:at_once, 0]
            chosen = latents[
                torch.randint(latents.shape[1], (len(dead),), generator=random).to(latents.device)
            ]
            usual = weight[counts > 0].norm(dim=1).median()
            weight[dead] = (F.normalize(chosen, dim=1) * usual).to(weight.dtype)
            revived.append(dead)
        return revived

    def reset_counts(self) -> None:
        self.counts.zero_()

    def forget(self) -> None:
        """Discard all observations, after the codebooks were replaced."""
        self.reset_counts()
        self.n_kept = 0

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts, "latents": self.latents, "n_kept": self.n_kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts.copy_(state["counts"])
        self.latents.copy_(state["latents"])
        self.n_kept = state["n_kept"]


@torch.no_grad()
def initialise_codebooks(model: DacModel, latents: Tensor, seed: int) -> None:
    """Fit the codebooks to ``latents`` [B, D, F] of the data.

    Each codebook projects the residual, unscaled, onto the directions in which it varies most, and its codes are found by
    k-means. Codes are searched by direction alone, which says nothing about size. So the latents are moved away from
    the origin along the direction in which they vary least; seen from there, direction tells them apart. (Around
    the origin, nine codebooks leave over half of the latents' power, of which they can code all but 6 %.)

    The latents must come from an encoder that has learnt something: those of a new one are tiny and change by multiples
    in a step. They must not be scaled to the usual size of codes either: they keep growing, the losses grow with the
    square of the scale, and training diverges (docs/log.md).
    """
    random = torch.Generator().manual_seed(seed)
    residual = latents.transpose(1, 2).flatten(0, 1).double()  # [B * F, D]
    for quantizer in model.quantizer.quantizers:
        size, dim = quantizer.codebook.weight.shape
        mean = residual.mean(0)
        directions = torch.linalg.eigh((residual - mean).t() @ (residual - mean)).eigenvectors
        basis = directions[:, -dim:]  # [D, d], the strongest last
        points = (residual - mean) @ basis
        away = torch.zeros_like(points[0])
        away[0] = REACH * points.square().sum(1).mean().sqrt()
        points += away
        _set_projection(quantizer.in_proj, basis.t(), away - mean @ basis)
        _set_projection(quantizer.out_proj, basis, mean - basis @ away)
        quantizer.codebook.weight.copy_(_kmeans(points, size, random))
        coded = quantizer.embed(quantizer.search(points.t()[None]))[0].t()  # [B * F, d]
        residual = residual - mean - (coded - away) @ basis.t()


def _kmeans(points: Tensor, n_codes: int, random: torch.Generator) -> Tensor:
    """Codes [n_codes, d] for ``points`` [M, d], clustered by direction, as the search compares them."""
    repeats = math.ceil(n_codes / len(points))
    order = torch.cat([torch.randperm(len(points), generator=random) for _ in range(repeats)])
    codes = points[order[:n_codes].to(points.device)]
    for _ in range(KMEANS_ROUNDS):
        index = (points @ F.normalize(codes, dim=1).t()).argmax(1)
        count = torch.bincount(index, minlength=n_codes)[:, None]
        sums = torch.zeros_like(codes).index_add_(0, index, points)
        codes = torch.where(count > 0, sums / count.clamp(min=1), codes)
    return codes


def _set_projection(layer: torch.nn.Conv1d, weight: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None
    set_weight(layer, weight[:, :, None].to(layer.bias))
    layer.bias.copy_(bias)
