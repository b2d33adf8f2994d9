"""How far from a float64 result a float32 one may be: judged by what PyTorch itself is off, there and then.

PyTorch's own kernels differ from processor to processor, and so do ours. A bound that one machine's figures were
read into fails on the next; and a float32 result that another machine stored is no better a judge. So results are
compared in float64, and the limit is a multiple of the error that PyTorch's float32 has on the machine at hand, or a
floor where that happens to be next to nothing.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

FLOOR = 1e-6  # some ten roundings to float32


def limit(pytorchs_error: float, times: float = 4, floor: float = FLOOR) -> float:
    """What a float32 result may be off where PyTorch's is off by ``pytorchs_error``, in the same measure."""
    return max(times * pytorchs_error, floor)


def rms_error(x: Tensor, reference: Tensor) -> float:
    """Root mean square of the difference, as a part of the reference's."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).square().mean().sqrt().item(), reference.square().mean().sqrt().item())


def peak_error(x: Tensor, reference: Tensor) -> float:
    """Largest difference, as a part of the reference's largest value."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).abs().max().item(), reference.abs().max().item())


def worst_error(x: Tensor, reference: Tensor) -> float:
    """Largest difference, as a part of the reference's root mean square."""
    x, reference = _alike(x, reference)
    return _ratio((x - reference).abs().max().item(), reference.square().mean().sqrt().item())


@contextlib.contextmanager
def plain_kernels():
    """PyTorch without oneDNN: the same sums by other code, so a second opinion on what rounding does."""
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
