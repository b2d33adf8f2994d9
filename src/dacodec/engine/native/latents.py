"""A model's encoder or decoder alone on the native engine: audio to latents, latents to audio.

The engine proper goes from audio to codes and back, with the quantizer's last layer merged into the decoder's
first. This is for callers that need the latents themselves, as in transformers' results.

Shapes: B batch, C channels, T time steps, before and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dacodec.engine.native.layers import LayerPlan, decoder_layers, encoder_layers
from dacodec.engine.native.library import load_library
from dacodec.engine.native.networks import Network
from dacodec.engine.native.threads import default_threads
from dacodec.geometry import Chain, Geometry
from dacodec.model.dac import Decoder, Encoder

_SAMPLES = 16  # values of each tensor compared to detect changes that PyTorch does not count


class LatentNetwork:
    """An encoder or decoder in float32 on the CPU, at the engine's ``"fast"`` precision (relative error about
    3e-6).

    Raises:
        EngineError: if the engine was not built.
    """

    def __init__(self, module: Encoder | Decoder, geometry: Geometry) -> None:
        self._module = module
        self._chain: Chain = geometry.encoder if isinstance(module, Encoder) else geometry.decoder
        self._library = load_library()
        self._packed: _Packed | None = None

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The module's output for ``x`` [B, C, T]; with ``lengths`` [B], zeros beyond them."""
        network = self._network()
        out_channels = self._module.conv2.out_channels
        steps = [x.shape[-1]] * len(x) if lengths is None else lengths.tolist()
        out = x.new_zeros(len(x), out_channels, self._made(x.shape[-1]))
        for item, length, made in zip(x, steps, out, strict=True):
            n = min(self._made(length), made.shape[-1])
            if n:
                rows = F.pad(item[:, :length].T, (0, network.in_width - item.shape[0]))
                made[:, :n] = network.run(rows, self._made(length), default_threads())[:n, :out_channels].T
        return out

    def _made(self, length: int) -> int:
        return max(0, self._chain.output_length(length)) if length else 0

    def _network(self) -> Network:
        """The weights as they are now, packed again if they have changed."""
        packed = self._packed
        if packed is None or not packed.is_of(self._module):
            layers = _layers(self._module)
            network = Network(self._library, layers, default_threads())
            packed = self._packed = _Packed(self._module, network)
        return packed.network


class _Packed:
    """A network, and the state of the weights it was made from.

    PyTorch counts a tensor's changes, but not those made through ``.data``, as many implementations of weight
    averaging do, nor those of inference tensors. So a few values of each tensor are compared as well.
    """

    def __init__(self, module: nn.Module, network: Network) -> None:
        self.network = network
        self._versions = _versions(module)
        self._views = list(_views(module))
        self._values = np.concatenate(self._views)

    def is_of(self, module: nn.Module) -> bool:
        return self._versions == _versions(module) and bool(
            np.array_equal(np.concatenate(self._views), self._values, equal_nan=True)
        )


def _versions(module: nn.Module) -> list[tuple[int, int]]:
    return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in module.parameters()]


def _views(module: nn.Module) -> Iterator[NDArray[np.float32]]:
    """Views of some values of each parameter. They keep its memory alive, so no other gets its address."""
    for parameter in module.parameters():
        flat = parameter.detach().reshape(-1)
        yield flat[:: -(-len(flat) // _SAMPLES)].numpy()


def _layers(module: Encoder | Decoder) -> list[LayerPlan]:
    if isinstance(module, Encoder):
        return encoder_layers(module, fast=True)
    return decoder_layers(module, fast=True)
