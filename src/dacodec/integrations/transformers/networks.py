"""The encoder and the decoder, run natively wherever that makes no observable difference.

The native engine computes only PyTorch's outputs: no gradient graph, no hooks on the layers inside, no layers
other than DAC's. So everything that could make a difference is checked before each call, in a fraction of a
millisecond; see :func:`obstacle`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as hooks_of_all
from transformers.modeling_layers import GradientCheckpointingLayer

from dacodec.engine.native.latents import LatentNetwork
from dacodec.engine.native.library import is_built
from dacodec.errors import EngineError
from dacodec.geometry import Chain, Geometry
from dacodec.model import dac as core
from dacodec.model.layers import DecoderBlock, EncoderBlock, ResidualUnit, Snake

ENGINES = ("auto", "native", "torch")

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class CheckpointedEncoderBlock(EncoderBlock, GradientCheckpointingLayer):
    """A block that transformers recognises and checkpoints."""

    __call__ = GradientCheckpointingLayer.__call__


class CheckpointedDecoderBlock(DecoderBlock, GradientCheckpointingLayer):
    """A block that transformers recognises and checkpoints."""

    __call__ = GradientCheckpointingLayer.__call__


_BLOCKS = {EncoderBlock: CheckpointedEncoderBlock, DecoderBlock: CheckpointedDecoderBlock}
_LAYERS = (nn.Conv1d, nn.ConvTranspose1d, nn.ModuleList, Snake, ResidualUnit, *_BLOCKS.values())


class Network(nn.Module):
    """Common base of the two. Copies and pickles leave out the packed weights."""

    engine = "auto"
    geometry: Geometry
    block: Any
    _native: LatentNetwork | None

    def of(self, geometry: Geometry) -> None:
        self.geometry, self._native = geometry, None
        for block in self.block:
            block.__class__ = _BLOCKS[type(block)]

    def natively(self, chain: Chain, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """The native engine's result, or None if PyTorch has to compute it.

        Raises:
            EngineError: if the engine is ``"native"`` and the call cannot run natively.
        """
        if self.engine == "torch":
            return None
        reason = obstacle(self, chain, x)
        if reason is None:
            if self._native is None:
                self._native = LatentNetwork(self, self.geometry)  # type: ignore[arg-type]
            return self._native(x, lengths)
        if self.engine == "native":
            raise EngineError(f"this call cannot run natively, since {reason}; set model.engine = 'auto'")
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_native": None}


class Encoder(Network, core.Encoder):
    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry.config)
        self.of(geometry)

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        latents = self.natively(self.geometry.encoder, audio, lengths)
        return super().forward(audio, lengths) if latents is None else latents


class Decoder(Network, core.Decoder):
    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry.config)
        self.of(geometry)

    def forward(self, latents: Tensor, lengths: Tensor | None = None) -> Tensor:
        audio = self.natively(self.geometry.decoder, latents, lengths)
        return super().forward(latents, lengths) if audio is None else audio


def obstacle(network: Any, chain: Chain, x: Tensor) -> str | None:
    """Why PyTorch has to run ``network`` on ``x`` [B, C, T]; None if there is no observable difference."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "it is being compiled or traced"
    if _inside_a_transform():
        return "a PyTorch mode or transform intercepts its operations"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if not is_built():
        return "the native engine was not built because there was no C++ compiler"
    parameters = list(network.parameters())
    for tensor in (x, *parameters):
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
            return f"it gets a {type(tensor).__name__}"
        if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
            return f"it gets {tensor.dtype} on {tensor.device}, not float32 on the CPU"
    if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters)):
        return "gradients are required (use torch.no_grad())"
    altered = _altered(network, chain)
    if altered is None and not _fits(network, chain, x):
        return f"it gets the shape {tuple(x.shape)}"
    return altered


def _fits(network: Any, chain: Chain, x: Tensor) -> bool:
    return x.ndim == 3 and x.shape[1] == network.conv1.in_channels and chain.output_length(x.shape[2]) >= 1


def _inside_a_transform() -> bool:
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def _altered(network: nn.Module, chain: Chain) -> str | None:
    """A difference from DAC's layers as originally built; None if there is none."""
    if hooks_of_all._global_forward_hooks or hooks_of_all._global_forward_pre_hooks:
        return "there are hooks on all modules"
    for name, module in network.named_modules():
        if module is network:
            continue
        if type(module) not in _LAYERS:
            return f"{name} is a {type(module).__name__}"
        if any(getattr(module, hooks) for hooks in _HOOKS) or "forward" in module.__dict__:
            return f"{name} has hooks"
    for layer in chain.layers:
        conv: Any = network.get_submodule(layer.name)
        numbers = (conv.kernel_size, conv.stride, conv.dilation, conv.padding)
        as_made = tuple((n,) for n in (layer.kernel, layer.stride, layer.dilation, layer.padding))
        plain = conv.padding_mode == "zeros" and conv.groups == 1 and conv.bias is not None
        if numbers != as_made or not plain or any(getattr(conv, "output_padding", ())):
            return f"{layer.name} was changed"
    return None
