"""Snake and dilated convolutions, forward and backward in C++, for training a small model on a CPU.

``speed_up(model)`` makes a float32 model on the CPU use them; the values are the same to float32's rounding
(``python scripts/train/fast_layers.py`` compares both, and their speed). They compute in one thread: train with one process
a core. GCC or Clang must be there.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import tempfile
import time
from ctypes import c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.model import DacModel
from dacodec.model.layers import Snake

FLAGS = ["-std=c++17", "-O3", "-ffast-math", "-fno-gcse", "-fPIC", "-shared", "-fvisibility=hidden"]
if platform.machine() in ("x86_64", "AMD64"):
    FLAGS += ["-mavx2", "-mfma", "-mtune=haswell"]


def speed_up(model: DacModel) -> None:
    """Let the layers of encoder and decoder that can use the C++ ones do so."""
    for layer in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(layer, Snake):
            layer.forward = lambda x, layer=layer: _Snake.apply(x, layer.alpha)
        elif isinstance(layer, nn.Conv1d) and _is_dilated(layer):
            layer.forward = lambda x, layer=layer: _convolve(x, layer)


def _is_dilated(layer: nn.Conv1d) -> bool:
    channels = (layer.in_channels, layer.out_channels)
    return layer.dilation > (1,) and layer.kernel_size == (7,) and not any(c % 4 for c in channels)


def _convolve(x: Tensor, layer: nn.Conv1d) -> Tensor:
    if x.shape[-1] % 16:
        return layer._conv_forward(x, layer.weight, layer.bias)
    return _Convolution.apply(x, layer.weight, layer.bias, layer.dilation[0])


class _Convolution(torch.autograd.Function):
    """x [B, C, T], weight [R, C, 7], bias [R] to [B, R, T]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        y = x.new_empty(len(x), len(weight), x.shape[2])
        _call("convolution", x, weight, bias, y, *_sizes(x, weight, dilation))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx, d_weight, d_bias = torch.empty_like(x), torch.zeros_like(weight), weight.new_zeros(len(weight))
        sizes = _sizes(x, weight, ctx.dilation)
        _call("convolution_gradients", x, weight, grads[0].contiguous(), dx, d_weight, d_bias, *sizes)
        return dx, d_weight, d_bias, None


class _Snake(torch.autograd.Function):
    """x [B, C, T] and alpha [1, C, 1] to [B, C, T]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, alpha)
        y = torch.empty_like(x)
        _call("snake", x, alpha, y, *x.shape)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, alpha = ctx.saved_tensors
        dx, d_alpha = torch.empty_like(x), torch.zeros_like(alpha)
        _call("snake_gradients", x, alpha, grads[0].contiguous(), dx, d_alpha, *x.shape)
        return dx, d_alpha


def _sizes(x: Tensor, weight: Tensor, dilation: int) -> tuple[int, ...]:
    return len(x), len(weight), *x.shape[1:], dilation


def _call(name: str, *arguments: Tensor | int) -> None:
    function = getattr(_library(), name)
    function(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments))


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fast_layers.so")
        source = Path(__file__).with_suffix(".cpp")
        subprocess.run(["c++", *FLAGS, str(source), "-o", str(path)], check=True)
        library = ctypes.CDLL(str(path))
    pointer, convolution, snake = c_void_p, [c_int] * 3 + [c_int64] * 2, [c_int, c_int, c_int64]
    library.convolution.argtypes = [pointer] * 4 + convolution
    library.convolution_gradients.argtypes = [pointer] * 6 + convolution
    library.snake.argtypes = [pointer] * 3 + snake
    library.snake_gradients.argtypes = [pointer] * 5 + snake
    for name in ("convolution", "convolution_gradients", "snake", "snake_gradients"):
        getattr(library, name).restype = None
    return library


def _compare() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("layer, channels, samples: largest relative error of output and gradients; ms of PyTorch, ours")
    for channels, n in ((16, 24576), (32, 6144), (64, 1536), (128, 384)):
        x = torch.randn(1, channels, n, requires_grad=True)
        for dilation in (3, 9):
            weight = (torch.randn(channels, channels, 7) / (channels * 7) ** 0.5).requires_grad_()
            bias = torch.randn(channels, requires_grad=True)
            _compare_one(
                f"convolution, dilation {dilation}",
                lambda: F.conv1d(x, weight, bias, 1, 3 * dilation, dilation),  # noqa: B023
                lambda: _Convolution.apply(x, weight, bias, dilation),  # noqa: B023
                (x, weight, bias),
            )
        own = Snake(channels)
        own.alpha.data.uniform_(0.3, 2)
        _compare_one("snake", lambda: own(x), lambda: _Snake.apply(x, own.alpha), (x, own.alpha))  # noqa: B023


def _compare_one(name: str, theirs: Any, ours: Any, inputs: tuple[Tensor, ...]) -> None:
    probe = torch.randn_like(theirs())
    results, times = [], []
    for function in (theirs, ours):
        best = float("inf")
        for _ in range(10):
            begin = time.perf_counter()
            output = function()
            grads = torch.autograd.grad(output, inputs, probe)
            best = min(best, time.perf_counter() - begin)
        results.append([output.detach(), *grads])
        times.append(1e3 * best)
    errors = [float((b - a).norm() / a.norm()) for a, b in zip(*results, strict=True)]
    assert max(errors) < 1e-5, errors
    print(
        f"{name}, {inputs[0].shape[1]}, {inputs[0].shape[2]}: {max(errors):.1e}; {times[0]:.2f}, {times[1]:.2f}"
    )


if __name__ == "__main__":
    _compare()
