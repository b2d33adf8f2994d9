"""Weight normalisation during training, as in the original; files and inference use only plain weights.

Without it, with Adam, the gain of some thirty layers can explode within a few steps (docs/log.md).

Source: arXiv 1602.07868.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.errors import CheckpointError

_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d)


def add_weight_norm(network: nn.Module) -> None:
    """Split the weight of every convolution into magnitude and direction, without changing its value."""
    for module in list(network.modules()):
        if isinstance(module, _CONVOLUTIONS):
            weight_norm(module)


def folded_state(network: nn.Module) -> dict[str, Tensor]:
    """The state dict as if there were no weight normalisation."""
    return fold_weight_norm(network.state_dict())


@torch.no_grad()
def set_weight(layer: nn.Module, weight: Tensor) -> None:
    """Set the weight of a layer, whether or not it is weight-normalised."""
    if is_parametrized(layer, "weight"):
        # Written in place: assigning to layer.weight gives its parameters new memory, which optimisers, averages and
        # the hooks that exchange gradients between processes do not notice.
        magnitude, direction = layer.get_submodule("parametrizations.weight").parameters()
        magnitude.copy_(torch.norm_except_dim(weight, 2, 0))
        direction.copy_(weight)
    else:
        layer.get_parameter("weight").copy_(weight)


@torch.no_grad()
def load_folded(network: nn.Module, tensors: Mapping[str, Tensor], where: str = "the weights") -> None:
    """The inverse of :func:`folded_state`, whether or not the network is weight-normalised.

    Raises:
        CheckpointError: if ``tensors`` are not exactly those of the network.
    """
    parameters = _plain_parameters(network)
    wrong = sorted(
        set(parameters) ^ set(tensors)
        | {
            name
            for name in parameters.keys() & tensors.keys()
            if parameters[name].shape != tensors[name].shape
        }
    )
    if wrong:
        raise CheckpointError(
            f"{where} do not fit this network: {wrong[:4]}{' and more' if len(wrong) > 4 else ''} "
            "are missing, unexpected or of another shape; train with the shape that they were made for"
        )
    for name, parameter in parameters.items():
        value = tensors[name].to(parameter)
        if name.endswith(".weight"):
            set_weight(network.get_submodule(name.removesuffix(".weight")), value)
        else:
            parameter.copy_(value)


def _plain_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Parameters by their names without weight normalisation."""
    parameters = {n: p.data for n, p in network.named_parameters() if ".parametrizations." not in n}
    for name, module in network.named_modules():
        if is_parametrized(module, "weight"):
            parameters[f"{name}.weight"] = module.weight.detach()
    return parameters
