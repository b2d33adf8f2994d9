"""PyTorch, eager or compiled, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from dacodec.engine.base import CHUNK_SECONDS, Pushed, State
from dacodec.engine.float32 import full_float32
from dacodec.engine.pieces import decoder_in_pieces, encoder_in_pieces
from dacodec.model import DacModel


class TorchEngine:
    """The engine that runs wherever PyTorch does. ``compiled`` uses ``torch.compile``: the first calls are slow.

    On a GPU float32 is computed without TF32.
    """

    chunk_seconds = CHUNK_SECONDS

    def __init__(self, model: DacModel, compiled: bool = False) -> None:
        self.model = model.eval()
        self.geometry = model.geometry
        self._encoder, self._decoder = model.encoder, model.decoder
        self._push_encoder = encoder_in_pieces(model.encoder).push
        self._push_decoder = decoder_in_pieces(model.decoder).push
        if compiled:
            self._encoder = torch.compile(model.encoder, dynamic=True)  # type: ignore[assignment]
            self._decoder = torch.compile(model.decoder, dynamic=True)  # type: ignore[assignment]
            self._push_encoder = torch.compile(self._push_encoder, dynamic=True)
            self._push_decoder = torch.compile(self._push_decoder, dynamic=True)

    @torch.inference_mode()
    @full_float32()
    def encode(self, audio: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        model = self.model
        x = audio.to(model.device, model.dtype)[:, None]  # [B, 1, T]
        lengths = None if lengths is None else lengths.to(model.device)
        codes = model.quantizer(self._encoder(x, lengths), n_quantizers).audio_codes
        if lengths is not None:
            frames = self.geometry.encoder.output_length(lengths)
            beyond = torch.arange(codes.shape[-1], device=codes.device) >= frames[:, None]
            codes = codes.masked_fill(beyond[:, None], 0)
        return codes.cpu()

    @torch.inference_mode()
    @full_float32()
    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        model = self.model
        lengths = None if lengths is None else lengths.to(model.device)
        latents = model.quantizer.from_codes(codes.to(model.device)).quantized_representation
        return self._decoder(latents, lengths)[:, 0].float().cpu()

    @torch.inference_mode()
    @full_float32()
    def push_audio(
        self, audio: Tensor, state: State = None, n_quantizers: int | None = None, end: bool = False
    ) -> Pushed:
        quantizer = self.model.quantizer
        n = quantizer.check_count(n_quantizers)
        x = audio.to(self.model.device, self.model.dtype)[:, None]
        latents, state = self._push_encoder(x, state, end)
        if not latents.shape[-1]:
            return Pushed(torch.zeros(len(audio), n, 0, dtype=torch.int64), state)
        return Pushed(quantizer(latents, n).audio_codes.cpu(), state)

    @torch.inference_mode()
    @full_float32()
    def push_codes(self, codes: Tensor, state: State = None, end: bool = False) -> Pushed:
        model = self.model
        if codes.shape[2]:
            latents = model.quantizer.from_codes(codes.to(model.device)).quantized_representation
        else:
            shape = (len(codes), model.config.hidden_size, 0)
            latents = torch.zeros(shape, device=model.device, dtype=model.dtype)
        audio, state = self._push_decoder(latents, state, end)
        return Pushed(audio[:, 0].float().cpu(), state)
