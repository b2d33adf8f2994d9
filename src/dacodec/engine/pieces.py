"""The model over a signal in pieces: every layer remembers the inputs that its next outputs still need.

Nothing is computed twice, and the outputs are those of the whole signal. The state is a value, passed in and
returned: None before the signal, then nested tuples of tensors, which may be copied, kept and pickled.

Shapes: B rows that advance together, C channels, T steps, any number of them in a piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.model.dac import Decoder, Encoder
from dacodec.model.layers import ResidualUnit

State = Any  # None, a tensor, or a tuple of these


class Layer(Protocol):
    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        """The outputs [B, C', T'] that ``x`` [B, C, T] completes, and the state after it.

        With ``end``, these are the last steps of the signal and its last outputs.
        """
        ...


class Pointwise:
    """A function of each step alone."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        return self._function(x), None


class Convolution:
    """Remembers the inputs that later outputs read; before the signal those are its padding."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self._conv = conv
        (kernel,), (self._stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        self._reach = (kernel - 1) * dilation + 1
        self._padding = int(conv.padding[0])

    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        conv = self._conv
        before = x.new_zeros(*x.shape[:2], self._padding) if state is None else state
        after = [x.new_zeros(*x.shape[:2], self._padding)] if end else []
        x = torch.cat([before, x, *after], -1)
        n = max(0, (x.shape[-1] - self._reach) // self._stride + 1)
        state = x[..., n * self._stride :].clone()
        if not n:
            return x.new_zeros(len(x), conv.out_channels, 0), state
        x = x[..., : (n - 1) * self._stride + self._reach]
        return F.conv1d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation), state


class TransposedConvolution:
    """Its kernel is twice its stride, so each output reads two inputs: the last one is remembered."""

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        self._conv = conv
        assert conv.kernel_size[0] == 2 * conv.stride[0]
        self._stride, self._padding = conv.stride[0], int(conv.padding[0])

    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        conv = self._conv
        x = x if state is None else torch.cat([state, x], -1)
        if not x.shape[-1]:
            return x.new_zeros(len(x), conv.out_channels, 0), None
        y = F.conv_transpose1d(x, conv.weight, conv.bias, conv.stride)  # stride * (inputs + 1) steps
        # The first ``stride`` outputs were given out already (at the start they are padding, cut off); the
        # last ``stride`` still lack the next input.
        first = self._padding if state is None else self._stride
        last = y.shape[-1] - (self._padding if end else self._stride)
        return y[..., first:last], x[..., -1:].clone()


class Residual:
    """A residual unit: the skip connection waits for the convolutions."""

    def __init__(self, unit: ResidualUnit) -> None:
        self._unit, self._dilated = unit, Convolution(unit.conv1)

    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        context, waiting = (None, x[..., :0]) if state is None else state
        y, context = self._dilated.push(self._unit.snake1(x), context, end)
        waiting = torch.cat([waiting, x], -1)
        n = y.shape[-1]
        if n:
            y = waiting[..., :n] + self._unit.conv2(self._unit.snake2(y))
        return y, (context, waiting[..., n:].clone())


class Chain:
    """Layers in sequence."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers

    def push(self, x: Tensor, state: State, end: bool) -> tuple[Tensor, State]:
        states = []
        for layer, before in zip(self._layers, state or [None] * len(self._layers), strict=True):
            x, after = layer.push(x, before, end)
            states.append(after)
        return x, tuple(states)


def encoder_in_pieces(encoder: Encoder) -> Chain:
    """Audio [B, 1, T] to latents [B, D, F]."""
    layers: list[Layer] = [Convolution(encoder.conv1)]
    for block in encoder.block:
        layers += [
            *map(Residual, (block.res_unit1, block.res_unit2, block.res_unit3)),
            Pointwise(block.snake1),
            Convolution(block.conv1),
        ]
    return Chain([*layers, Pointwise(encoder.snake1), Convolution(encoder.conv2)])


def decoder_in_pieces(decoder: Decoder) -> Chain:
    """Latents [B, D, F] to audio [B, 1, T]."""
    layers: list[Layer] = [Convolution(decoder.conv1)]
    for block in decoder.block:
        layers += [
            Pointwise(block.snake1),
            TransposedConvolution(block.conv_t1),
            *map(Residual, (block.res_unit1, block.res_unit2, block.res_unit3)),
        ]
    return Chain([*layers, Pointwise(decoder.snake1), Convolution(decoder.conv2), Pointwise(torch.tanh)])
