"""Float32 that is float32: NVIDIA's GPUs round operands to ten bits (TF32) unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Turn TF32 off for convolutions and matrix products, then restore the settings.

    PyTorch convolves in TF32 by default, which changes up to 3 % of the codes. The settings belong to the process, so
    convolutions in other threads are as accurate, and slower, meanwhile.
    """
    cudnn: Any = torch.backends.cudnn  # not typed in full
    settings = (cudnn.conv, torch.backends.cuda.matmul)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
