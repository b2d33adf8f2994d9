"""The exact precision: a model's encoder with its quantizer, and its decoder, with PyTorch's own kernels.

They never read a tensor's values on the host, so they can be recorded.

Shapes: B rows, T samples, F frames, K codebooks in use.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dacodec.engine.float32 import full_float32
from dacodec.model import DacModel
from dacodec.model.layers import mask


class PlainEncoder:
    """Audio to codes in the model's dtype, float32 without TF32."""

    def __init__(self, model: DacModel) -> None:
        self._model = model

    def __call__(self, audio: Tensor, lengths: Tensor, n_quantizers: int) -> Tensor:
        """Codes [B, K, F] of ``audio`` [B, T], of which ``lengths`` [B] samples are real; 0 for the rest."""
        model, codes = self._model, []
        with full_float32():
            residual = model.encoder(audio.to(model.dtype)[:, None], lengths)
            for book in list(model.quantizer.quantizers)[:n_quantizers]:
                index = book.search(book.in_proj(residual))
                residual = residual - book.out_proj(book.embed(index))
                codes.append(index)
        return mask(torch.stack(codes, 1), model.geometry.encoder.output_length(lengths))


class PlainDecoder:
    """Codes to audio in the model's dtype, float32 without TF32."""

    def __init__(self, model: DacModel) -> None:
        self._model = model

    def __call__(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Audio [B, T] in float32 of ``codes`` [B, K, F], of which ``lengths`` [B] frames are real."""
        books = list(self._model.quantizer.quantizers)[: codes.shape[1]]
        with full_float32():
            latents = [book.out_proj(book.embed(codes[:, i])) for i, book in enumerate(books)]
            return self._model.decoder(torch.stack(latents).sum(0), lengths)[:, 0].float()
