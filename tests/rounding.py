"""The allowed error of a float32 result against float64: judged by PyTorch's own error on the same machine.

PyTorch's kernels round differently on different processors, and so do ours. A bound taken from one machine's figures
fails on the next, and a float32 result stored by another machine is no better. So results are compared with float64,
and the limit is a multiple of the error of PyTorch's float32 on the same machine, or a floor where that happens to be
almost zero.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

FLOOR = 1e-6  # about ten roundings to float32


def limit(pytorchs_error: float, times: float = 4, floor: float = FLOOR) -> float:
    """The allowed error of a float32 result when PyTorch's error is ``pytorchs_error``, in the same measure."""
    return max(times * pytorchs_error, floor)


def rms_error(x: Tensor, reference: Tensor) -> float:
    """Root mean square of the difference, relative to the reference's."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).square().mean().sqrt().item(), reference.square().mean().sqrt().item())


def peak_error(x: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the reference's largest value."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).abs().max().item(), reference.abs().max().item())


def worst_error(x: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the reference's root mean square."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).abs().max().item(), reference.square().mean().sqrt().item())


@contextlib.contextmanager
def plain_kernels():
    """PyTorch without oneDNN: the same sums by other code, a second sample of the rounding error."""
    before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def _alike(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    assert x.shape == reference.shape, f"{tuple(x.shape)}, not {tuple(reference.shape)}"
    if not x.numel():
        x = reference = torch.zeros(1)
    return x.double(), reference.double()


def _ratio(difference: float, size: float) -> float:
    if size == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / size
