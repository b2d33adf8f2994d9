"""A model's layers in the library's form: two chains, in which successive linear layers are merged.

The merging is done in advance, in float64: the quantizer's out_proj and the decoder's first convolution
become one convolution of codebook vectors. Each Snake is computed by the layer before it, while its outputs
are in the cache.

Shapes: D latent dimension, N codebooks, d codebook dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dacodec.engine.native.library import ACTIVATIONS, KINDS, Held, LayerWeights
from dacodec.model import DacModel
from dacodec.model.dac import Decoder, Encoder
from dacodec.model.layers import ResidualUnit, Snake

_ROW = 16  # rows of channels are padded to a multiple of this many floats
# Which F(outputs, taps) where.
_TAPS7, _TAPS2 = (4, 4), (4, 2)
# F(4, 2) takes 2.5 times the memory of the weights. With so many weights and so few rows, that costs more
# time (to pack and to read) and memory than saving 3 of 8 products is worth.
_MOST_WINOGRAD_WEIGHTS = 1 << 23


class LayerPlan:
    """One layer: its shape, its tensors under the names of ``struct dac_layer``, and its F(outputs, taps)."""

    def __init__(
        self,
        kind: str,
        conv: Convolution,
        after: Snake | str,
        winograd: tuple[int, int] | None = None,
        from_audio: bool = False,
        **tensors: Tensor,
    ) -> None:
        self.kind, self.conv, self.winograd = kind, conv, winograd
        self.activation = after if isinstance(after, str) else "snake"
        self.in_width = 1 if from_audio else padded(conv.in_channels)
        self.out_width = 1 if self.activation == "tanh" else padded(conv.out_channels)
        self.tensors = {"weight": conv.weight, "bias": conv.bias, **tensors}
        if isinstance(after, Snake):
            self.tensors["alpha"] = after.alpha

    def as_c(self, held: Held) -> LayerWeights:
        conv = self.conv
        return LayerWeights(
            KINDS[self.kind],
            ACTIVATIONS[self.activation],
            conv.in_channels,
            conv.out_channels,
            self.in_width,
            self.out_width,
            conv.kernel,
            conv.stride,
            conv.dilation,
            conv.padding,
            winograd=held.matrices(*self.winograd) if self.winograd else None,
            **{name: held.floats(tensor) for name, tensor in self.tensors.items()},
        )


class Convolution(NamedTuple):
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    dilation: int
    padding: int
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv1d | nn.ConvTranspose1d) -> Convolution:
        return cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            conv.dilation[0],
            int(conv.padding[0]),
            conv.weight,
            bias(conv),
        )


def encoder_layers(encoder: Encoder, fast: bool) -> list[LayerPlan]:
    taps7 = _TAPS7 if fast else None
    layers = [LayerPlan("conv", Convolution.of(encoder.conv1), "none", from_audio=True)]
    for i, block in enumerate(encoder.block):
        last = i + 1 == len(encoder.block)
        layers += [
            _unit(block.res_unit1, "none", taps7),
            _unit(block.res_unit2, "none", taps7),
            _unit(block.res_unit3, block.snake1, taps7),
            _resampling("down", block.conv1, encoder.snake1 if last else "none", fast),
        ]
    return [*layers, LayerPlan("conv", Convolution.of(encoder.conv2), "none")]


def decoder_layers(decoder: Decoder, fast: bool, first: Convolution | None = None) -> list[LayerPlan]:
    """The decoder's layers, starting with ``first``: by default its own first convolution."""
    taps7 = _TAPS7 if fast else None
    # Every block begins with a Snake, which the layer before it computes.
    snakes = [*(block.snake1 for block in decoder.block), decoder.snake1]
    layers = [LayerPlan("conv", first or Convolution.of(decoder.conv1), snakes[0])]
    for block, snake in zip(decoder.block, snakes[1:], strict=True):
        layers += [
            _resampling("up", block.conv_t1, "none", fast),
            _unit(block.res_unit1, "none", taps7),
            _unit(block.res_unit2, "none", taps7),
            _unit(block.res_unit3, snake, taps7),
        ]
    return [*layers, LayerPlan("conv", Convolution.of(decoder.conv2), "tanh")]


def _unit(unit: ResidualUnit, after: Snake | str, winograd: tuple[int, int] | None) -> LayerPlan:
    return LayerPlan(
        "unit",
        Convolution.of(unit.conv1),
        after,
        winograd,
        alpha1=unit.snake1.alpha,
        alpha2=unit.snake2.alpha,
        weight2=unit.conv2.weight,
        bias2=bias(unit.conv2),
    )


def _resampling(kind: str, conv: nn.Conv1d | nn.ConvTranspose1d, after: Snake | str, fast: bool) -> LayerPlan:
    fast = fast and conv.weight.numel() < _MOST_WINOGRAD_WEIGHTS
    return LayerPlan(kind, Convolution.of(conv), after, _TAPS2 if fast else None)


def from_codebook_vectors(model: DacModel) -> Convolution:
    """Every codebook's out_proj merged with the decoder's first convolution: [N * (d + 1)] inputs."""
    conv = Convolution.of(model.decoder.conv1)
    outs = torch.cat([with_bias(q.out_proj) for q in model.quantizer.quantizers], 1)  # [D, N * (d + 1)]
    weight = (conv.weight.transpose(1, 2).double() @ outs).transpose(1, 2)
    return conv._replace(in_channels=outs.shape[1], weight=weight)


def with_bias(out_proj: nn.Conv1d) -> Tensor:
    """[D, d + 1], float64: the weights, and the bias as the weight of a 1 that follows each vector."""
    return torch.cat([out_proj.weight[:, :, 0], bias(out_proj)[:, None]], 1).double()


def bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def padded(channels: int) -> int:
    return -(-channels // _ROW) * _ROW
