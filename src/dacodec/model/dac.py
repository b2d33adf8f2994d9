"""The DAC model: encoder, residual vector quantizer, decoder.

Shapes: B batch, T samples, D latent dimension, F frames, K codebooks in use, d codebook dimension.

Source: arXiv 2306.06546. The public surface and the parameter names are those of transformers' ``DacModel``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.config import DacConfig
from dacodec.errors import AudioError, CodesError
from dacodec.geometry import Geometry
from dacodec.model.layers import DecoderBlock, EncoderBlock, Snake, mask
from dacodec.model.outputs import DacDecoderOutput, DacEncoderOutput, DacOutput
from dacodec.model.quantizer import Quantized, ResidualVectorQuantizer


class Encoder(nn.Module):
    """Audio [B, 1, T] to latents [B, D, F]."""

    block: Sequence[EncoderBlock]

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        widths = [config.encoder_hidden_size * 2**i for i in range(len(config.downsampling_ratios) + 1)]
        blocks = map(EncoderBlock, widths, config.downsampling_ratios)
        self.conv1 = nn.Conv1d(1, widths[0], 7, padding=3)
        self.block = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.snake1 = Snake(widths[-1])
        self.conv2 = nn.Conv1d(widths[-1], config.hidden_size, 3, padding=1)

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = mask(self.conv1(mask(audio, lengths)), lengths)
        for block in self.block:
            x = block(x, lengths)
            lengths = block.output_lengths(lengths)
        return mask(self.conv2(self.snake1(x)), lengths)


class Decoder(nn.Module):
    """Latents [B, D, F] to audio [B, 1, T], T as ``Geometry.samples`` says."""

    block: Sequence[DecoderBlock]

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        widths = [config.decoder_hidden_size // 2**i for i in range(len(config.upsampling_ratios) + 1)]
        blocks = map(DecoderBlock, widths, config.upsampling_ratios)
        self.conv1 = nn.Conv1d(config.hidden_size, widths[0], 7, padding=3)
        self.block = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.snake1 = Snake(widths[-1])
        self.conv2 = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, latents: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = mask(self.conv1(mask(latents, lengths)), lengths)
        for block in self.block:
            x = block(x, lengths)
            lengths = block.output_lengths(lengths)
        return mask(torch.tanh(self.conv2(self.snake1(x))), lengths)


class DacModel(nn.Module):
    """The Descript Audio Codec as one module, with Hugging Face's calls and state-dict keys.

    It fixes what transformers' model gets wrong: it takes a padding mask, so that each item of a padded batch
    gives the same codes and audio as alone; ``n_quantizers`` outside 1..N raises, and is honoured in training
    mode; quantizer dropout works for every batch size; ``quantizer.from_latents`` works; the code search is
    exact in half precision. As in the released models, an odd stride loses samples (16 and 24 kHz: 8 fewer
    come back); ``dacodec.Codec`` returns as many samples as it was given.

    ``model.encoder(audio)`` gives the latents before quantization, ``model.quantizer`` turns latents into
    codes and embeddings and back.
    """

    main_input_name = "input_values"
    # The result classes, for subclasses that have their own.
    _encoder_output: type[Any] = DacEncoderOutput
    _decoder_output: type[Any] = DacDecoderOutput
    _output: type[Any] = DacOutput

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = Geometry(config)
        self.encoder = Encoder(config)
        self.quantizer = ResidualVectorQuantizer(config)
        self.decoder = Decoder(config)
        self.apply(initialise)

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.conv1.bias.dtype  # type: ignore[union-attr]

    @property
    def device(self) -> torch.device:
        return self.encoder.conv1.bias.device  # type: ignore[union-attr]

    def encode(
        self,
        input_values: Tensor,
        n_quantizers: int | Tensor | None = None,
        return_dict: bool | None = None,
        padding_mask: Tensor | None = None,
    ) -> Any:
        """Audio to codes.

        Args:
            input_values: [B, 1, T], at ``config.sampling_rate``.
            n_quantizers: codebooks to use, 1..N, or a tensor [B] with one number per item.
            return_dict: False returns a plain tuple.
            padding_mask: [B, T], nonzero where the audio is real, as the feature extractor makes it; padding
                is on the right. An item's length is rounded up to a multiple of the hop.

        Returns:
            :class:`DacEncoderOutput`; ``loss`` is [B], the batch mean as in Hugging Face's code.

        Raises:
            AudioError: if the audio is not [B, 1, T] or shorter than one frame, or the mask does not fit.
            CodesError: if ``n_quantizers`` is outside 1..N.
        """
        input_values, lengths = self._check_audio(input_values, padding_mask)
        latents = self.encoder(input_values, lengths)  # [B, D, F]
        quantized = self.quantizer(latents, n_quantizers)
        codes_mask = None
        representation, codes = quantized.quantized_representation, quantized.audio_codes
        if lengths is not None:
            frames = self.geometry.encoder.output_length(lengths)
            codes_mask = torch.arange(codes.shape[-1], device=codes.device) < frames[:, None]
            representation, codes = mask(representation, frames), mask(codes, frames)
        output = self._encoder_output(
            self._loss(quantized),
            representation,
            codes,
            quantized.projected_latents,
            codes_mask,
        )
        return self._as_asked(output, return_dict)

    def decode(
        self,
        quantized_representation: Tensor | None = None,
        audio_codes: Tensor | None = None,
        return_dict: bool | None = None,
        padding_mask: Tensor | None = None,
    ) -> Any:
        """Codes, or their latents, to audio.

        Args:
            quantized_representation: [B, D, F].
            audio_codes: [B, K, F] of any integer dtype, K from 1 to N; used instead if given.
            return_dict: False returns a plain tuple.
            padding_mask: [B, F], nonzero where a frame is real (``audio_codes_mask`` of :meth:`encode`).

        Returns:
            :class:`DacDecoderOutput` with ``audio_values`` [B, T].

        Raises:
            CodesError: if neither is given, or the codes are out of range or of wrong rank or dtype.
        """
        if audio_codes is not None:
            quantized_representation = self.quantizer.from_codes(audio_codes).quantized_representation
        if quantized_representation is None:
            raise CodesError("nothing to decode: give quantized_representation or audio_codes")
        lengths = None if padding_mask is None else _lengths(padding_mask, quantized_representation)
        audio = self.decoder(quantized_representation, lengths)  # [B, 1, T]
        return self._as_asked(self._decoder_output(audio.squeeze(1)), return_dict)

    def forward(
        self,
        input_values: Tensor,
        n_quantizers: int | Tensor | None = None,
        return_dict: bool | None = None,
        padding_mask: Tensor | None = None,
    ) -> Any:
        """:meth:`encode`, then :meth:`decode`; the audio is cut to the input's length.

        Returns:
            :class:`DacOutput`, or a plain tuple if ``return_dict`` is False.
        """
        encoded = self.encode(input_values, n_quantizers, True, padding_mask)
        decoded = self.decode(encoded.quantized_representation, None, True, encoded.audio_codes_mask)
        audio_values = decoded.audio_values[..., : input_values.shape[-1]]
        return self._as_asked(self._output(audio_values=audio_values, **dict(encoded.items())), return_dict)

    def _as_asked(self, output: Any, return_dict: bool | None) -> Any:
        return output.to_tuple() if return_dict is False else output

    def _loss(self, quantized: Quantized) -> Tensor:
        """Commitment and codebook terms, weighted [B].

        As in Hugging Face's code, the batch mean, for each item over the codebooks that it uses. (The
        original and our training average each item's own.)
        """
        terms = (
            self.config.commitment_loss_weight * quantized.commitment_loss
            + self.config.codebook_loss_weight * quantized.codebook_loss
        )  # [B, K]
        return (terms.mean(0) * quantized.used).sum(1)

    def _check_audio(self, audio: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Audio and each item's valid length [B], rounded up to the hop; without a mask, as it is and None."""
        if audio.ndim != 3 or audio.shape[1] != 1:
            raise AudioError(f"input_values must be [batch, 1, samples], got {tuple(audio.shape)}")
        hop = self.config.hop_length
        lengths = None
        if padding_mask is not None:
            lengths = -(-_lengths(padding_mask, audio) // hop) * hop
            audio = F.pad(audio, (0, -audio.shape[-1] % hop))
        if self.geometry.frames(audio.shape[-1]) < 1:
            raise AudioError(f"{audio.shape[-1]} samples are less than one frame; pad them to {hop}")
        return audio, lengths


def _lengths(padding_mask: Tensor, x: Tensor) -> Tensor:
    """Real time steps of each item [B] under a mask [B, T] that fits ``x`` [B, C, T] and pads on the right."""
    if padding_mask.shape != (x.shape[0], x.shape[-1]):
        raise AudioError(f"padding_mask must be {(x.shape[0], x.shape[-1])}, got {tuple(padding_mask.shape)}")
    real = padding_mask.bool()
    lengths = real.sum(-1)
    if not torch.compiler.is_compiling() and not bool((real[:, 1:] <= real[:, :-1]).all()):
        raise AudioError("padding_mask must pad on the right: ones, then zeros")
    return lengths


def initialise(module: nn.Module) -> None:
    """What the original ends up with: PyTorch's default weights, and zero biases in the plain convolutions.

    (Its truncated normal is written to a tensor that weight normalisation recomputes, so it has no effect.)
    """
    if isinstance(module, nn.Conv1d) and module.bias is not None:
        nn.init.zeros_(module.bias)
