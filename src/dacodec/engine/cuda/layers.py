"""Convolutions in the kernel's form: weights packed once, everything that follows a convolution fused into it.

Shapes: B rows, T steps, C channels, channels last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dacodec.engine.cuda import kernels
from dacodec.model.layers import Snake

LOW = 2048  # low halves are stored scaled by this, so that they are not subnormal; the kernels know it
FROM_AUDIO = 16  # samples that the first convolution reads as channels of one step: the least a product takes


class Operand(NamedTuple):
    """Numbers to be multiplied: halves, or pairs of halves, high + low / 2048. ``low`` is empty without pairs."""

    high: Tensor
    low: Tensor

    @classmethod
    def of(cls, x: Tensor, precise: bool) -> Operand:
        high = x.half()
        return cls(high, ((x.float() - high.float()) * LOW).half() if precise else high.new_empty(0))

    @classmethod
    def empty(cls, shape: tuple[int, ...], device: torch.device, precise: bool) -> Operand:
        high = torch.empty(shape, dtype=torch.float16, device=device)
        return cls(high, torch.empty_like(high) if precise else high.new_empty(0))


class Made(NamedTuple):
    """The outputs of a convolution: the residual stream [B, T, C] in float32, and the next convolution's operand.

    Either is empty if it is not needed.
    """

    stream: Tensor
    operand: Operand


class Convolution:
    """A convolution, plain or transposed, with the operations after it.

    Args:
        weight: [taps, C, phases * C'], any float type; ``bias``: [C'].
        phases, offset: of a transposed convolution, see :func:`~dacodec.engine.cuda.kernels.convolve`.
        after: the Snake that turns the outputs into the next convolution's operand.
        keep: return the outputs themselves too, as the residual stream or the result.
        precise: operands are pairs of halves.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int = 0,
        phases: int = 1,
        offset: int = 0,
        after: Snake | None = None,
        keep: bool = False,
        tanh: bool = False,
        precise: bool,
    ) -> None:
        self.taps, self.in_channels, columns = weight.shape
        self.out_channels = columns // phases
        self.weight = Operand.of(weight.detach().float().contiguous(), precise)
        self.bias = bias.detach().float().contiguous()
        self.alpha = self.bias[:0] if after is None else after.alpha.detach().float().flatten().contiguous()
        self.after, self.keep, self.precise = after is not None, keep, precise
        self._shape = {
            "TAPS": self.taps,
            "STRIDE": stride,
            "DILATION": dilation,
            "PADDING": padding,
            "PHASES": phases,
            "OFFSET": offset,
            "TANH": tanh,
        }

    @classmethod
    def of(
        cls,
        conv: nn.Conv1d,
        after: Snake | None = None,
        *,
        keep: bool = False,
        tanh: bool = False,
        precise: bool,
    ) -> Convolution:
        (stride,), (dilation,), padding = conv.stride, conv.dilation, int(conv.padding[0])
        weight = conv.weight.permute(2, 1, 0)
        return cls(
            weight,
            _bias(conv),
            stride=stride,
            dilation=dilation,
            padding=padding,
            after=after,
            keep=keep,
            tanh=tanh,
            precise=precise,
        )

    @classmethod
    def transposed(cls, conv: nn.ConvTranspose1d, after: Snake, *, keep: bool, precise: bool) -> Convolution:
        """Its kernel is twice its stride: a product of two neighbouring steps makes ``stride`` outputs."""
        (stride,), padding = conv.stride, int(conv.padding[0])
        before, here = conv.weight[:, :, stride:], conv.weight[:, :, :stride]  # [C, C', stride] each
        weight = torch.stack([before, here]).transpose(2, 3).flatten(2)  # [2, C, stride * C']
        return cls(
            weight,
            _bias(conv),
            padding=1,
            phases=stride,
            offset=padding,
            after=after,
            keep=keep,
            precise=precise,
        )

    @classmethod
    def from_audio(cls, conv: nn.Conv1d, after: Snake, *, precise: bool) -> Convolution:
        """The network's first, with one channel: its taps become channels, see :func:`unfolded`."""
        weight = conv.weight.new_zeros(1, FROM_AUDIO, conv.out_channels)
        weight[0, : conv.kernel_size[0]] = conv.weight[:, 0].T
        return cls(weight, _bias(conv), after=after, keep=True, precise=precise)

    def __call__(
        self,
        x: Operand,
        lengths: Tensor,
        out_steps: int,
        residual: Tensor | None = None,
    ) -> Made:
        """The outputs [B, out_steps, C'] of ``x`` [B, T, C], zero from ``lengths`` [B] (int32) on.

        Args:
            residual: [B, out_steps, C'], float32, added.
        """
        batch, in_steps = x.high.shape[:2]
        device = x.high.device
        shape = (batch, out_steps, self.out_channels)
        made = Made(
            torch.empty(shape if self.keep else 0, device=device),
            Operand.empty(shape if self.after else (0,), device, self.precise),
        )
        phases = self._shape["PHASES"]
        positions = -(-(out_steps + self._shape["OFFSET"]) // phases)
        tile = _tile(self.in_channels, phases * self.out_channels, self.precise)
        grid = (
            -(-positions // tile["STEPS"]),
            -(-phases * self.out_channels // tile["COLUMNS"]),
            batch,
        )
        kernels.convolve[grid](
            *x,
            *self.weight,
            self.bias,
            self.alpha,
            self.bias if residual is None else residual,
            lengths,
            made.stream,
            *made.operand,
            in_steps,
            out_steps,
            positions,
            self.in_channels,
            self.out_channels,
            *x.high.stride(),
            **self._shape,
            PRECISE=self.precise,
            RESIDUAL=residual is not None,
            STREAM=self.keep,
            SNAKE=self.after,
            **tile,
        )
        return made


def unfolded(audio: Tensor, kernel: int, precise: bool) -> Operand:
    """[B, T, 16] of ``audio`` [B, T]: at each step, 16 samples starting ``kernel // 2`` before it. Views, not copies."""
    batch, n_samples = audio.shape
    before = kernel // 2
    padded = Operand.of(torch.nn.functional.pad(audio, (before, FROM_AUDIO)), precise)
    shape = (batch, n_samples, FROM_AUDIO)
    return Operand(*(x.as_strided(shape, (x.stride(0), 1, 1)) if x.numel() else x for x in padded))


def _tile(in_channels: int, columns: int, precise: bool) -> dict[str, int]:
    """The size of the tile that a program computes, and how many channels it multiplies at a time."""
    across = min(128, max(16, _power_of_two(columns)))
    along = 128 if across < 128 or not precise else 64
    depth = min(64 if not precise else 32, max(16, _power_of_two(in_channels)))
    return {"STEPS": along, "COLUMNS": across, "DEPTH": depth, "num_warps": 4 if across <= 32 else 8}


def _power_of_two(n: int) -> int:
    """The least that is at least ``n``."""
    return 1 << (n - 1).bit_length()


def _bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
