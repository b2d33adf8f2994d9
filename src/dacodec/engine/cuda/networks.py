"""A model's encoder with its quantizer, and its decoder, as chains of fused convolutions.

Successive linear layers are merged in advance, in float64: the encoder's last convolution with the in_proj of all
codebooks, and the out_proj of all codebooks with the decoder's first. So latents are never computed.

Shapes: B rows, T samples, F frames, K codebooks in use, N codebooks, d codebook dimension, D latent dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.cuda import kernels
from dacodec.engine.cuda.layers import Convolution, Made, Operand, unfolded
from dacodec.geometry import Layer
from dacodec.model import DacModel
from dacodec.model.layers import ResidualUnit, Snake


class Unit:
    """A residual unit: two convolutions, the second one adding the stream and applying the Snake that follows."""

    def __init__(self, unit: ResidualUnit, after: Snake, keep: bool, precise: bool) -> None:
        self._dilated = Convolution.of(unit.conv1, unit.snake2, precise=precise)
        self._pointwise = Convolution.of(unit.conv2, after, keep=keep, precise=precise)

    def __call__(self, stream: Tensor, x: Operand, lengths: Tensor) -> Made:
        steps = stream.shape[1]
        inner = self._dilated(x, lengths, steps).operand
        return self._pointwise(inner, lengths, steps, residual=stream)


class FusedEncoder:
    """Audio to codes. Operands are pairs of halves, so codes hardly ever differ from float32's."""

    PRECISE = True

    def __init__(self, model: DacModel) -> None:
        encoder, self._geometry = model.encoder, model.geometry
        self._kernel = encoder.conv1.kernel_size[0]
        first = encoder.block[0].res_unit1.snake1
        self._first = Convolution.from_audio(encoder.conv1, first, precise=self.PRECISE)
        self._blocks: list[tuple[list[Unit], Convolution, Layer]] = []
        for i, block in enumerate(encoder.block):
            last = i + 1 == len(encoder.block)
            after = encoder.snake1 if last else encoder.block[i + 1].res_unit1.snake1
            units = _units([block.res_unit1, block.res_unit2, block.res_unit3], block.snake1, self.PRECISE)
            down = Convolution.of(block.conv1, after, keep=not last, precise=self.PRECISE)
            self._blocks.append((units, down, block.layer))
        self._quantizer = FusedQuantizer(model)
        weight, bias = self._quantizer.merged_with(encoder.conv2)
        self._last = Convolution(weight, bias, padding=1, keep=True, precise=self.PRECISE)

    def __call__(self, audio: Tensor, lengths: Tensor, n_quantizers: int) -> Tensor:
        """Codes [B, K, F] of ``audio`` [B, T], of which ``lengths`` [B] samples are real."""
        real = torch.arange(audio.shape[1], device=audio.device) < lengths[:, None]
        x = unfolded(audio.float().masked_fill(~real, 0), self._kernel, self.PRECISE)
        steps, lengths = audio.shape[1], lengths.to(torch.int32)
        stream, operand = self._first(x, lengths, steps)
        for units, down, layer in self._blocks:
            for unit in units:
                stream, operand = unit(stream, operand, lengths)
            steps, lengths = layer.output_length(steps), layer.output_length(lengths).to(torch.int32)
            stream, operand = down(operand, lengths, steps)
        projected = self._last(operand, lengths, steps).stream
        return self._quantizer(projected, lengths, n_quantizers)


class FusedQuantizer:
    """The search of all codebooks, with the residual kept in their low-dimensional space, in float32."""

    def __init__(self, model: DacModel) -> None:
        books = model.quantizer.quantizers
        self._in_proj = torch.cat([q.in_proj.weight[:, :, 0] for q in books]).double()  # [N * d, D]
        self._in_bias = torch.cat([_vector(q.in_proj.bias) for q in books]).double()
        codebooks = torch.stack([q.codebook.weight for q in books]).float()  # [N, size, d]
        directions = F.normalize(codebooks, dim=-1)
        self._directions = directions.transpose(1, 2).contiguous()
        self._norms = directions.pow(2).sum(-1).contiguous()
        outs = torch.stack([q.out_proj.weight[:, :, 0] for q in books]).double()  # [N, D, d]
        vectors = codebooks.double() @ outs.transpose(1, 2)  # [N, size, D]
        vectors += torch.stack([_vector(q.out_proj.bias) for q in books]).double()[:, None]
        self._feedback = (vectors @ self._in_proj.T).float().contiguous()  # [N, size, N * d]

    def merged_with(self, conv: torch.nn.Conv1d) -> tuple[Tensor, Tensor]:
        """Weight [taps, C, N * d] and bias of ``conv`` followed by every in_proj."""
        weight = (self._in_proj @ conv.weight.double().permute(2, 0, 1)).transpose(1, 2)
        return weight, self._in_proj @ _vector(conv.bias).double() + self._in_bias

    def __call__(self, projected: Tensor, lengths: Tensor, n_quantizers: int) -> Tensor:
        """Codes [B, K, F] of ``projected`` [B, F, N * d]; 0 from ``lengths`` [B] on."""
        batch, n_frames, width = projected.shape
        _, dim, size = self._directions.shape
        codes = torch.empty(batch, n_quantizers, n_frames, dtype=torch.int64, device=projected.device)
        frames, tile = batch * n_frames, 16
        kernels.quantize[(-(-frames // tile),)](
            projected,
            self._directions,
            self._norms,
            self._feedback,
            codes,
            frames,
            n_frames,
            lengths,
            K=n_quantizers,
            D=dim,
            SIZE=size,
            WIDTH=width,
            PADDED=1 << (width - 1).bit_length(),
            FRAMES=tile,
            ENTRIES=min(256, 1 << (size - 1).bit_length()),
        )
        return codes


class FusedDecoder:
    """Codes to audio. Operands are halves, the residual stream and all sums float32."""

    PRECISE = False

    def __init__(self, model: DacModel) -> None:
        decoder, self._geometry = model.decoder, model.geometry
        self._vectors, weight = _from_codebook_vectors(model)
        snakes = [*(block.snake1 for block in decoder.block), decoder.snake1]
        self._first = Convolution(
            weight, _vector(decoder.conv1.bias), padding=3, after=snakes[0], precise=self.PRECISE
        )
        self._blocks: list[tuple[Convolution, list[Unit], Layer]] = []
        for block, after in zip(decoder.block, snakes[1:], strict=True):
            up = Convolution.transposed(
                block.conv_t1, block.res_unit1.snake1, keep=True, precise=self.PRECISE
            )
            units = _units([block.res_unit1, block.res_unit2, block.res_unit3], after, self.PRECISE)
            self._blocks.append((up, units, block.layer))
        self._last = Convolution.of(decoder.conv2, keep=True, tanh=True, precise=self.PRECISE)

    def __call__(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Audio [B, T] of ``codes`` [B, K, F], of which ``lengths`` [B] frames are real."""
        steps, lengths = codes.shape[2], lengths.to(torch.int32)
        operand = Operand.of(self._embed(codes, lengths), self.PRECISE)
        operand = self._first(operand, lengths, steps).operand
        for up, units, layer in self._blocks:
            steps, lengths = layer.output_length(steps), layer.output_length(lengths).to(torch.int32)
            stream, operand = up(operand, lengths, steps)
            for unit in units:
                stream, operand = unit(stream, operand, lengths)
        audio = self._last(operand, lengths, steps).stream
        return audio[:, :, 0]

    def _embed(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """[B, F, N * (d + 1)]: the codebook vectors, each with a 1 for its out_proj's bias, zero where not used."""
        k = codes.shape[1]
        vectors = self._vectors[torch.arange(k, device=codes.device)[:, None], codes]  # [B, K, F, d + 1]
        real = torch.arange(codes.shape[2], device=codes.device) < lengths[:, None]
        rows = vectors.transpose(1, 2).flatten(2) * real[:, :, None]
        return F.pad(rows, (0, self._vectors.shape[0] * self._vectors.shape[2] - rows.shape[2]))


def _units(units: list[ResidualUnit], after: Snake, precise: bool) -> list[Unit]:
    """Consecutive units. After the last, only ``after`` reads the stream."""
    snakes = [*(unit.snake1 for unit in units[1:]), after]
    last = len(units) - 1
    return [
        Unit(unit, snake, keep=i < last, precise=precise)
        for i, (unit, snake) in enumerate(zip(units, snakes, strict=True))
    ]


def _from_codebook_vectors(model: DacModel) -> tuple[Tensor, Tensor]:
    """Codebook vectors [N, size, d + 1], a 1 after each, and the weight [7, N * (d + 1), C] that takes them."""
    books = model.quantizer.quantizers
    vectors = F.pad(torch.stack([q.codebook.weight for q in books]).float(), (0, 1), value=1.0)
    outs = [torch.cat([q.out_proj.weight[:, :, 0], _vector(q.out_proj.bias)[:, None]], 1) for q in books]
    merged = model.decoder.conv1.weight.double().permute(2, 0, 1) @ torch.cat(outs, 1).double()
    return vectors, merged.transpose(1, 2)


def _vector(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return bias
