"""Weight normalisation of the convolutions, put on for training and taken off again."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from dacodec.checkpoint.weights import fold_weight_norm


def apply_weight_norm(model: nn.Module) -> None:
    """Make each convolution's weight a magnitude and a direction, as the original trains it."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) and not parametrize.is_parametrized(
            module, "weight"
        ):
            weight_norm(module)


def remove_weight_norm(model: nn.Module) -> None:
    """Make them one weight again."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)) and parametrize.is_parametrized(
            module, "weight"
        ):
            halves = {f"_.{name}": value.detach() for name, value in module.state_dict().items()}
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            with torch.no_grad():
                module.weight.copy_(fold_weight_norm(halves)["_.weight"])
