"""The layers of DAC: Snake, the residual unit, and the blocks that change the rate.

Shapes: B batch, C channels, T time steps at the layer's own rate. ``lengths`` [B] holds, at the rate of the
layer's input, how many time steps of each item are real; the rest is kept zero, which is what a convolution
sees beyond the end of a single signal. Without ``lengths`` every step is real.

Source: arXiv 2306.06546, section 3.1. Parameter names are those of Hugging Face's checkpoints.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dacodec.geometry import RESIDUAL_DILATIONS, RESIDUAL_KERNEL, downsampling_layer, upsampling_layer


def mask(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` [B, C, T] with everything from ``lengths`` [B] on set to zero; ``x`` itself without lengths."""
    if lengths is None:
        return x
    beyond = torch.arange(x.shape[-1], device=x.device) >= lengths[:, None]  # [B, T]
    return x.masked_fill(beyond[:, None], 0)


class Snake(nn.Module):
    """x + sin²(αx) / α, with one α per channel (arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        # The 1e-9 is part of the released models.
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class ResidualUnit(nn.Module):
    """Snake, dilated convolution, Snake, 1x1 convolution, plus the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        padding = (RESIDUAL_KERNEL - 1) * dilation // 2
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(channels, channels, RESIDUAL_KERNEL, dilation=dilation, padding=padding)
        self.snake2 = Snake(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        y = self.conv1(self.snake1(x))
        y = self.conv2(self.snake2(y))
        return mask(x + y, lengths)  # conv2 looks at one step only, so one mask at the end is enough


class Block(nn.Module):
    """A stage of the encoder or decoder.

    With ``gradient_checkpointing`` (transformers' name, which its trainer sets), training stores only a
    block's input and recomputes the rest in the backward pass: less memory, more time, the same gradients.
    """

    gradient_checkpointing = False
    _gradient_checkpointing_func = staticmethod(partial(checkpoint, use_reentrant=False))

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(super().__call__, x, lengths)
        return super().__call__(x, lengths)


class EncoderBlock(Block):
    """Three residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.layer = downsampling_layer(stride)
        self.res_unit1 = ResidualUnit(channels, RESIDUAL_DILATIONS[0])
        self.res_unit2 = ResidualUnit(channels, RESIDUAL_DILATIONS[1])
        self.res_unit3 = ResidualUnit(channels, RESIDUAL_DILATIONS[2])
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(channels, 2 * channels, self.layer.kernel, stride, self.layer.padding)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.res_unit1(x, lengths)
        x = self.res_unit2(x, lengths)
        x = self.res_unit3(x, lengths)
        x = self.conv1(self.snake1(x))
        return mask(x, self.output_lengths(lengths))

    def output_lengths(self, lengths: Tensor | None) -> Tensor | None:
        return None if lengths is None else self.layer.output_length(lengths)


class DecoderBlock(Block):
    """A transposed convolution that halves the channels, then three residual units."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.layer = upsampling_layer(stride)
        self.snake1 = Snake(channels)
        self.conv_t1 = nn.ConvTranspose1d(
            channels, channels // 2, self.layer.kernel, stride, self.layer.padding
        )
        self.res_unit1 = ResidualUnit(channels // 2, RESIDUAL_DILATIONS[0])
        self.res_unit2 = ResidualUnit(channels // 2, RESIDUAL_DILATIONS[1])
        self.res_unit3 = ResidualUnit(channels // 2, RESIDUAL_DILATIONS[2])

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        lengths = self.output_lengths(lengths)
        x = mask(self.conv_t1(self.snake1(x)), lengths)
        x = self.res_unit1(x, lengths)
        x = self.res_unit2(x, lengths)
        return self.res_unit3(x, lengths)

    def output_lengths(self, lengths: Tensor | None) -> Tensor | None:
        return None if lengths is None else self.layer.output_length(lengths)
