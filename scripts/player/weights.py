"""A model's decoder as docs/player/network.mjs reads it, in the native engine's own layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dacodec.checkpoint import LoadedModel
from dacodec.engine.native.layers import LayerPlan, decoder_layers, from_codebook_vectors
from dacodec.engine.native.library import ACTIVATIONS, KINDS
from dacodec.engine.native.winograd import winograd

_ALIGNMENT = 8


class Data:
    """Arrays one after the other."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.length = 0

    def put(self, array: np.ndarray) -> tuple[int, int]:
        """Where it begins, and its size."""
        begin, data = self.length, _padded(array.tobytes(), b"\0")
        self.parts.append(data)
        self.length += len(data)
        return begin, array.size


def write_weights(path: Path, loaded: LoadedModel) -> None:
    """Tensors are stored in half precision where that loses nothing."""
    model, data = loaded.model, Data()
    with torch.no_grad():
        plans = decoder_layers(model.decoder, True, from_codebook_vectors(model))
        vectors = torch.stack([q.codebook.weight for q in model.quantizer.quantizers])
        vectors = F.pad(vectors, (0, 1), value=1.0).numpy()
    transforms = {name: plan.winograd for plan in plans if (name := _name(plan)) != "none"}
    head = {
        "layers": [_layer(plan, data) for plan in plans],
        "winograd": {name: _transform(*shape, data) for name, shape in transforms.items()},
        "vectors": data.put(vectors),
        "shape": vectors.shape,
        "in_width": plans[0].in_width,
        "hop_length": model.config.hop_length,
        "halo": model.geometry.decoder_halo,
    }
    text = _padded(json.dumps(head).encode(), b" ")
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data.parts))


def _layer(plan: LayerPlan, data: Data) -> dict[str, Any]:
    conv = plan.conv
    kinds = [KINDS[plan.kind], ACTIVATIONS[plan.activation]]
    widths = [conv.in_channels, conv.out_channels, plan.in_width, plan.out_width]
    shape = [conv.kernel, conv.stride, conv.dilation, conv.padding]
    tensors = {name: _tensor(tensor, data) for name, tensor in plan.tensors.items()}
    return {"ints": [*kinds, *widths, *shape], "winograd": _name(plan), "tensors": tensors}


def _tensor(tensor: torch.Tensor, data: Data) -> tuple[str, int, int]:
    values = tensor.detach().float().contiguous().numpy()
    half = values.astype(np.float16)
    loses_nothing = np.array_equal(half.astype(np.float32), values)
    return ("f2", *data.put(half)) if loses_nothing else ("f4", *data.put(values))


def _name(plan: LayerPlan) -> str:
    return "none" if plan.winograd is None else f"{plan.winograd[0]}, {plan.winograd[1]}"


def _transform(outputs: int, taps: int, data: Data) -> dict[str, Any]:
    matrices = winograd(outputs, taps)
    flat = {
        name: np.array([float(x) for row in getattr(matrices, name) for x in row])
        for name in ("at", "g", "bt")
    }
    return {"ints": [outputs, taps], **{name: data.put(values) for name, values in flat.items()}}


def _padded(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % _ALIGNMENT)
