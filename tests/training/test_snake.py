"""The fused Snake against PyTorch's in float64; on a CPU, with Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from dacodec.model.layers import Snake
from dacodec.training.snake import fused_snake

torch.manual_seed(0)
for batch, channels, length in ((2, 3, 50), (1, 16, 700), (3, 130, 41), (1, 1, 5)):
    for last in (False, True):
        for dtype in (torch.float32, torch.bfloat16):
            x = 3 * torch.randn(batch, channels, length)
            if last:
                x = x.transpose(1, 2).contiguous().transpose(1, 2)
            x = x.to(dtype).requires_grad_()
            alpha = torch.empty(1, channels, 1).uniform_(-2, 2).requires_grad_()
            with torch.no_grad():
                alpha[0, 0, 0] = 0  # as 1e-9 allows
            dy = torch.randn(batch, channels, length).to(dtype)
            y = fused_snake(x, alpha)
            dx, dalpha = torch.autograd.grad(y, (x, alpha), dy)

            exact = Snake(channels).double()
            exact.alpha.data.copy_(alpha)
            x64 = x.detach().double().requires_grad_()
            y64 = exact(x64)
            dx64, dalpha64 = torch.autograd.grad(y64, (x64, exact.alpha), dy.double())
            assert y.dtype == dx.dtype == dtype and dalpha.dtype == torch.float32
            assert y.stride() == x.stride() == dx.stride()
            rounding = 1e-5 if dtype == torch.float32 else 2**-7  # the interpreter cuts bfloat16 off
            for given, wanted in ((y, y64), (dx, dx64)):
                torch.testing.assert_close(given.double(), wanted, rtol=rounding, atol=rounding)
            torch.testing.assert_close(dalpha.double(), dalpha64, rtol=1e-4, atol=1e-4 * dalpha64.abs().max().item())
print("compared")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton")
def test_the_fused_snake_is_the_snake():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "compared" in run.stdout
