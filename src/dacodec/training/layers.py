"""The networks' layers with faster kernels: the same parameters under the same names.

A layer is changed in place by assigning another class, before weight normalisation, which looks up ``forward`` there.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.errors import ConfigError
from dacodec.model import DacModel
from dacodec.model.layers import Snake
from dacodec.training.config import SpeedConfig
from dacodec.training.discriminators import Discriminator


class LastConv1d(nn.Conv1d):
    """Computed as a two-dimensional convolution with channels last; the result [B, C, T] is laid out as [B, T, C]."""

    def forward(self, x: Tensor) -> Tensor:
        weight, stride, padding = _last(self.weight), (1, self.stride[0]), (0, int(self.padding[0]))
        y = F.conv2d(_last(x), weight, self.bias, stride, padding, (1, self.dilation[0]))
        return y.contiguous(memory_format=torch.channels_last)[
            :, :, 0
        ]  # needed explicitly for one input channel


class LastConvTranspose1d(nn.ConvTranspose1d):
    """Like :class:`LastConv1d`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight, stride, padding = _last(self.weight), (1, self.stride[0]), (0, int(self.padding[0]))
        return F.conv_transpose2d(_last(x), weight, self.bias, stride, padding)[:, :, 0]


class LastConv2d(nn.Conv2d):
    """With the weight's channels last in memory; the result has the same layout."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation)


class FusedSnake(Snake):
    """Computed by the Triton kernels, on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        from dacodec.training.snake import fused_snake

        y: Tensor = fused_snake(x, self.alpha)
        return y


def _last(x: Tensor) -> Tensor:
    """[B, C, T] as [B, C, 1, T] with channels last in memory."""
    return x[:, :, None].contiguous(memory_format=torch.channels_last)


LAST: dict[type, type] = {
    nn.Conv1d: LastConv1d,
    nn.ConvTranspose1d: LastConvTranspose1d,
    nn.Conv2d: LastConv2d,
}


def speed_up(model: DacModel, judge: Discriminator | None, config: SpeedConfig, device: torch.device) -> None:
    """Change the layers of both networks as configured. The quantizer's stay as they are: they are few and must be exact.

    Raises:
        ConfigError: if fused Snake needs Triton and it is missing.
    """
    kinds = dict(LAST) if config.channels_last else {}
    if config.fused_snake and device.type == "cuda":
        _check_triton()
        kinds[Snake] = FusedSnake
    for network in (model.encoder, model.decoder, judge):
        for layer in network.modules() if network is not None else ():
            layer.__class__ = kinds.get(type(layer), type(layer))
    if config.float32_tail:
        _in_float32(model.decoder.block[-1])
        _in_float32(model.decoder.conv2)


def _check_triton() -> None:
    try:
        import dacodec.training.snake  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "speed.fused_snake needs Triton, which comes with PyTorch for CUDA; set it to false"
        ) from error


def _in_float32(layer: nn.Module) -> None:
    """Run ``layer`` in float32, regardless of autocast."""

    def forward(self: Any, x: Tensor, *more: Any) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = type(self).forward(self, x.float(), *more)
        return y

    layer.forward = MethodType(forward, layer)
