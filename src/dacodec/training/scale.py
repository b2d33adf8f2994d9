"""Scaled initialisation: once, on real audio, every convolution of a new model is scaled to outputs of variance 1.

PyTorch's initialisation gives latents of about 0.02 and almost no audio, and the first hundreds of steps are spent on
making them larger.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dacodec.model import DacModel
from dacodec.model.layers import ResidualUnit

# Standard deviation of a residual branch's output: three of them increase the variance by a quarter.
BRANCH = 0.3


@torch.no_grad()
def start_in_scale(model: DacModel, audio: Tensor) -> None:
    """Scale the weights of a model without weight normalisation, using ``audio`` [B, 1, T] from the data.

    On that audio the standard deviation is then 1 after every convolution, ``BRANCH`` at the end of a residual branch,
    and that of the audio at the output. Biases become 0.
    """
    wanted = {
        conv: 1.0
        for part in (model.encoder, model.decoder)
        for conv in part.modules()
        if isinstance(conv, (nn.Conv1d, nn.ConvTranspose1d))
    }
    wanted |= {unit.conv2: BRANCH for unit in model.modules() if isinstance(unit, ResidualUnit)}
    wanted[model.decoder.conv2] = float(audio.std())
    for conv in wanted:
        assert conv.bias is not None
        conv.bias.zero_()
    hooks = [conv.register_forward_hook(partial(_scale, deviation)) for conv, deviation in wanted.items()]
    try:
        model.decoder(model.encoder(audio))
    finally:
        for hook in hooks:
            hook.remove()


def _scale(deviation: float, conv: Any, given: Any, output: Tensor) -> Tensor:
    factor = deviation / output.std().clamp(min=1e-12)
    conv.weight.mul_(factor)
    return output * factor
