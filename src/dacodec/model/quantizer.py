"""Residual vector quantization: latents to codes and back.

Shapes: B batch, D latent dimension, F frames, N codebooks, K codebooks in use, d codebook dimension.

Source: arXiv 2306.06546, section 3.2 (factorised, L2-normalised codes as in ViT-VQGAN, arXiv 2110.04627;
quantizer dropout as in SoundStream, arXiv 2107.03312). Parameter names are those of Hugging Face's checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.config import DacConfig
from dacodec.errors import CodesError

INTEGER_DTYPES = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32, torch.int64)


class Quantized(NamedTuple):
    """The quantizer's output."""

    quantized_representation: Tensor  # [B, D, F], the sum over the codebooks that the item uses
    audio_codes: Tensor  # [B, K, F]
    projected_latents: Tensor  # [B, K * d, F], before quantization
    commitment_loss: Tensor  # [B, K], means over (d, F), of unused codebooks too
    codebook_loss: Tensor  # [B, K], likewise
    used: Tensor  # [B, K] bool: which codebooks the item uses


class FromCodes(NamedTuple):
    """What :meth:`ResidualVectorQuantizer.from_codes` returns, in Hugging Face's order."""

    quantized_representation: Tensor  # [B, D, F]
    projected_latents: Tensor  # [B, K * d, F], the codebook vectors
    audio_codes: Tensor  # [B, K, F]


class FromLatents(NamedTuple):
    """What :meth:`ResidualVectorQuantizer.from_latents` returns, in Hugging Face's order."""

    quantized_representation: Tensor  # [B, D, F]
    quantized_latents: Tensor  # [B, K * d, F]


def nearest(latents: Tensor, codebook: Tensor) -> Tensor:
    """Index [B, F] of the row of ``codebook`` [size, d] nearest in direction to ``latents`` [B, d, F].

    Runs in float32 at least, whatever the model's dtype and under autocast: in half precision 0.7 %
    (float16) to 5.6 % (bfloat16) of the codes would differ. The first index wins a tie. (Hugging Face
    adds the codebook's norm where the distance subtracts it; the norms are 1, so only rounding differs.)
    """
    with torch.autocast(latents.device.type, enabled=False):
        dtype = torch.promote_types(latents.dtype, torch.float32)
        directions = F.normalize(latents.to(dtype).transpose(1, 2), dim=-1)  # [B, F, d]
        codebook = F.normalize(codebook.to(dtype), dim=-1)
        distance = codebook.pow(2).sum(1) - 2 * directions @ codebook.t()  # less the latents' own norm
        return distance.argmin(-1)


class VectorQuantizer(nn.Module):
    """One codebook, searched by direction in a low-dimensional space."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(config.hidden_size, config.codebook_dim, 1)
        self.out_proj = nn.Conv1d(config.codebook_dim, config.hidden_size, 1)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def search(self, latents: Tensor) -> Tensor:
        """Index [B, F] of the codebook vector nearest in direction to ``latents`` [B, d, F]."""
        return nearest(latents, self.codebook.weight)

    def embed(self, codes: Tensor) -> Tensor:
        """Codebook vectors [B, d, F] of ``codes`` [B, F]: the raw rows, not the normalised ones."""
        return self.codebook(codes).transpose(1, 2)


class ResidualVectorQuantizer(nn.Module):
    """A chain of codebooks, each coding the residual of the ones before."""

    quantizers: Sequence[VectorQuantizer]

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(  # type: ignore[assignment]
            VectorQuantizer(config) for _ in range(config.n_codebooks)
        )
        self.n_codebooks = config.n_codebooks
        self.codebook_size = config.codebook_size
        self.codebook_dim = config.codebook_dim
        self.quantizer_dropout = config.quantizer_dropout

    def forward(self, latents: Tensor, n_quantizers: int | Tensor | None = None) -> Quantized:
        """Quantize ``latents`` [B, D, F].

        Args:
            n_quantizers: how many codebooks to use: a number from 1 to N, or a tensor [B] with one per item.
                By default all are used; in training mode with quantizer dropout each item draws, with that
                probability, a number from 1 to N. Unlike in Hugging Face's code, a given number is honoured
                in training mode, and dropout works for every batch size.

        Raises:
            CodesError: for an ``n_quantizers`` outside 1..N (Hugging Face clamps or crashes).
        """
        if n_quantizers is None and self.training and self.quantizer_dropout > 0:
            n_quantizers = self.draw_counts(latents.shape[0], latents.device)
        if isinstance(n_quantizers, Tensor):
            n = self.n_codebooks
            used = torch.arange(n, device=latents.device) < n_quantizers.to(latents.device)[:, None]
        else:
            n = self.check_count(n_quantizers)
            used = torch.ones(latents.shape[0], n, dtype=torch.bool, device=latents.device)

        residual = latents
        quantized = torch.zeros_like(latents)
        codes, projected, commitment, codebook = [], [], [], []
        for i, quantizer in enumerate(self.quantizers[:n]):
            before = quantizer.in_proj(residual)  # [B, d, F]
            index = quantizer.search(before)
            after = quantizer.embed(index).to(before.dtype)
            straight_through = before + (after - before).detach()
            step = quantizer.out_proj(straight_through)
            residual = residual - step  # not detached: every codebook's gradient reaches the ones before
            quantized = quantized + step * used[:, i, None, None]
            codes.append(index)
            projected.append(before)
            commitment.append(_mean_square(before, after.detach()))
            codebook.append(_mean_square(after, before.detach()))
        return Quantized(
            quantized,
            torch.stack(codes, 1),
            torch.cat(projected, 1),
            torch.stack(commitment, 1),
            torch.stack(codebook, 1),
            used,
        )

    def draw_counts(self, batch: int, device: torch.device) -> Tensor:
        """Quantizer dropout: how many codebooks each item [B] of a training batch keeps."""
        drawn = torch.randint(1, self.n_codebooks + 1, (batch,), device=device)
        drop = torch.rand(batch, device=device) < self.quantizer_dropout
        return torch.where(drop, drawn, self.n_codebooks)

    def from_codes(self, audio_codes: Tensor) -> FromCodes:
        """Latents of ``audio_codes`` [B, K, F], K from 1 to N, of any integer dtype.

        Raises:
            CodesError: for a wrong rank or dtype, and for codes out of range, with their position.
        """
        codes = check_codes(audio_codes, self.n_codebooks, self.codebook_size)
        embedded = [q.embed(codes[:, i]) for i, q in enumerate(self.quantizers[: codes.shape[1]])]
        return FromCodes(self._project_out(embedded), torch.cat(embedded, 1), codes)

    def from_latents(self, latents: Tensor) -> FromLatents:
        """Quantize projected ``latents`` [B, K * d, F], each codebook's part on its own.

        Gradients pass straight through. (Raises AttributeError in transformers 4.56.2.)
        """
        codes = self.codes_of(latents)
        parts = torch.split(latents, self.codebook_dim, 1)
        after = [q.embed(codes[:, i]) for i, q in enumerate(self.quantizers[: len(parts)])]
        after = [x + (y - x).detach() for x, y in zip(parts, after, strict=True)]
        return FromLatents(self._project_out(after), torch.cat(after, 1))

    def codes_of(self, latents: Tensor) -> Tensor:
        """Codes [B, K, F] of projected ``latents`` [B, K * d, F]; the inverse of ``from_codes``' latents."""
        parts = torch.split(latents, self.codebook_dim, 1)
        if latents.shape[1] % self.codebook_dim or not 1 <= len(parts) <= self.n_codebooks:
            raise CodesError(
                f"projected latents must be [B, K * {self.codebook_dim}, F] with K from 1 to "
                f"{self.n_codebooks}, got {tuple(latents.shape)}"
            )
        return torch.stack([q.search(x) for q, x in zip(self.quantizers, parts, strict=False)], 1)

    def check_count(self, n_quantizers: int | None) -> int:
        if n_quantizers is None:
            return self.n_codebooks
        if isinstance(n_quantizers, bool) or not 1 <= n_quantizers <= self.n_codebooks:
            raise CodesError(f"n_quantizers must be from 1 to {self.n_codebooks}, got {n_quantizers}")
        return int(n_quantizers)

    def _project_out(self, embedded: list[Tensor]) -> Tensor:
        parts = [q.out_proj(x) for q, x in zip(self.quantizers, embedded, strict=False)]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def check_codes(codes: Tensor, n_codebooks: int, codebook_size: int) -> Tensor:
    """``codes`` [B, K, F] as int64, checked before a device can fail an assertion on them.

    Raises:
        CodesError: for a wrong rank or dtype, and for codes out of range, with the position of the first.
    """
    if codes.dtype not in INTEGER_DTYPES:
        remedy = (
            "if all are whole numbers, round and convert them, as in codes.round().long(); logits become codes by "
            "argmax, and vectors by the quantizer"
            if codes.is_floating_point()
            else "convert them, as in codes.long()"
        )
        raise CodesError(f"codes must be integers, got {codes.dtype}: {remedy}")
    if codes.ndim != 3 or not 1 <= codes.shape[1] <= n_codebooks:
        fits = codes.ndim == 3 and 1 <= codes.shape[2] <= n_codebooks
        raise CodesError(
            f"codes must be [batch, 1 to {n_codebooks} codebooks, frames], got {tuple(codes.shape)}"
            + (
                "; time seems to come first: give their transpose, as in codes.swapaxes(-1, -2)"
                if fits
                else ""
            )
        )
    codes = codes.to(torch.int64)
    if torch.compiler.is_compiling():  # a traced graph cannot look at values
        return codes
    bad = ((codes < 0) | (codes >= codebook_size)).nonzero()
    if len(bad):
        b, k, f = bad[0].tolist()
        raise CodesError(
            f"code {int(codes[b, k, f])} at item {b}, codebook {k}, frame {f} is outside "
            f"0..{codebook_size - 1} ({len(bad)} such codes)"
        )
    return codes


def _mean_square(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of each item [B], in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (x.to(dtype) - y.to(dtype)).pow(2).mean((1, 2))
