"""Snake as one Triton kernel forward and one backward.

As separate operations, x + sin²(αx) / α reads and writes activations eight times, which takes most of the time of a
small model's pass. The kernels take [B, C, T] in either memory order, channels first or last, compute in float32 and
return the input's type.

Importing this needs Triton.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048  # values that a program holds at once
PROGRAMS = 2048  # along time in the backward pass; each writes its own sum


@triton.jit
def _tile(
    rows, length, channels, first, stride_b, stride_t, stride_c, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):
    """Offsets of the tile [ROWS, CHANNELS] that starts at row ``first``, and a mask of what is inside. Rows are B * T."""
    row = first + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    item = (row // length).to(tl.int64)
    at = (item * stride_b + (row % length) * stride_t)[:, None] + (channel * stride_c)[None, :]
    return at, (row < rows)[:, None] & (channel < channels)[None, :], channel


@triton.jit
def _forward(x_at, alpha_at, y_at, rows, length, channels, stride_b, stride_t, stride_c, ROWS: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    at, inside, channel = _tile(
        rows, length, channels, tl.program_id(0) * ROWS, stride_b, stride_t, stride_c, ROWS, CHANNELS
    )
    x = tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32)
    alpha = tl.load(alpha_at + channel, mask=channel < channels, other=1.0).to(tl.float32)[None, :]
    sine = tl.sin(alpha * x)
    y = x + sine * sine / (alpha + 1e-9)
    tl.store(y_at + at, y.to(y_at.dtype.element_ty), mask=inside)


@triton.jit
def _backward(x_at, alpha_at, dy_at, dx_at, sums_at, rows, length, channels, stride_b, stride_t, stride_c, ROWS: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    """dx, and each program's part of the gradient of α: sums [programs, C], so that no two programs write to one place."""
    total = tl.zeros((CHANNELS,), tl.float32)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    alpha = tl.load(alpha_at + channel, mask=channel < channels, other=1.0).to(tl.float32)[None, :]
    for first in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        at, inside, _ = _tile(rows, length, channels, first, stride_b, stride_t, stride_c, ROWS, CHANNELS)
        x = tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_at + at, mask=inside, other=0.0).to(tl.float32)
        sine = tl.sin(alpha * x)
        double = 2 * sine * tl.cos(alpha * x)  # the sine of twice the angle
        beta = alpha + 1e-9
        tl.store(dx_at + at, (dy * (1 + double * alpha / beta)).to(dx_at.dtype.element_ty), mask=inside)
        total += tl.sum(dy * (double * x - sine * sine / beta) / beta, 0)
    tl.store(sums_at + tl.program_id(0) * channels + channel, total, mask=channel < channels)


class _Snake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Tensor:
        x = x if _is_channels_last(x) else x.contiguous()
        y = torch.empty_like(x)
        shape, tiles = _launch(x)
        _forward[tiles](x, alpha, y, *shape.values(), **_blocks(x))
        ctx.save_for_backward(x, alpha)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, alpha = ctx.saved_tensors
        if dy.stride() != x.stride():
            dy = torch.empty_like(x).copy_(dy)
        dx = torch.empty_like(x)
        shape, (along, across) = _launch(x)
        along = min(PROGRAMS, along)
        sums = torch.empty(along, x.shape[1], device=x.device)
        _backward[(along, across)](x, alpha, dy, dx, sums, *shape.values(), **_blocks(x))
        return dx, sums.sum(0).view_as(alpha).to(alpha.dtype)


def _is_channels_last(x: Tensor) -> bool:
    """Whether [B, C, T] is laid out in memory as [B, T, C]."""
    return x.transpose(1, 2).is_contiguous() and not x.is_contiguous()


def _blocks(x: Tensor) -> dict[str, int]:
    """The shape of a tile: longest along the contiguous axis."""
    channels = min(triton.next_power_of_2(x.shape[1]), 128 if _is_channels_last(x) else 4)
    return {"ROWS": TILE // channels, "CHANNELS": channels}


def _launch(x: Tensor) -> tuple[dict[str, int], tuple[int, int]]:
    """The kernels' shape arguments, in their order, and the number of tiles along time and across channels."""
    batch, channels, length = x.shape
    blocks = _blocks(x)
    shape = {"rows": batch * length, "length": length, "channels": channels}
    strides = {"stride_b": x.stride(0), "stride_t": x.stride(2), "stride_c": x.stride(1)}
    tiles = (triton.cdiv(batch * length, blocks["ROWS"]), triton.cdiv(channels, blocks["CHANNELS"]))
    return shape | strides, tiles


def fused_snake(x: Tensor, alpha: Tensor) -> Tensor:
    """x + sin²(αx) / α for ``x`` [B, C, T] and ``alpha`` [1, C, 1], in the type and memory order of ``x``."""
    y: Tensor = _Snake.apply(x, alpha)
    return y
