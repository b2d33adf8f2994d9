"""Tensors in files: reading, folding weight normalisation, the strict check, writing.

Nothing here can run code from a file: pickles are read with ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dacodec.config import DacConfig
from dacodec.errors import CheckpointError
from dacodec.files import new_file
from dacodec.model import DacModel

WEIGHTS_FILE = "model.safetensors"
PICKLED_WEIGHTS_FILE = "pytorch_model.bin"  # what Hugging Face's package wrote before safetensors

# Suffixes of a weight-normalised weight's magnitude and direction: torch's old hook, its new parametrization.
_NORMALISED = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder in Hugging Face's layout, as stored.

    Raises:
        CheckpointError: if there are none, or they cannot be read.
    """
    path = folder / WEIGHTS_FILE
    if path.is_file():
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # SafetensorError derives from Exception alone
            raise CheckpointError(
                f"{path} is damaged or not a safetensors file ({error}); get it again"
            ) from error
    path = folder / PICKLED_WEIGHTS_FILE
    if path.is_file():
        return named_tensors(read_pickle(path), path)
    if (folder / f"{WEIGHTS_FILE}.index.json").is_file():
        raise CheckpointError(
            f"the weights in {folder} are in several files; save them as one {WEIGHTS_FILE}"
        )
    raise CheckpointError(
        f"{folder} holds no {WEIGHTS_FILE}; for weights of Descript's package give the .pth file itself"
    )


def read_pickle(path: Path) -> Any:
    """What ``torch.save`` wrote: tensors and plain containers of plain values, nothing else.

    Raises:
        CheckpointError: for anything else. Such a file could run code when loaded, so it is not.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch errors of many kinds
        # torch's message advises to load the file without the protection, so it is not repeated here.
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and plain values, which could run code, "
            f"so it was not loaded ({type(error).__name__}); get it again or convert it to safetensors"
        ) from error


def named_tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """``state``, if it is a state dict."""
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise CheckpointError(f"{path} holds no state dict, that is, tensors by name")
    return dict(state)


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` with each magnitude g [N, 1, 1] and direction v [N, ...] folded into one weight, g v / |v|.

    In float64, so that the result does not depend on the machine's order of summation; rounded to float32 or
    to v's dtype, if that is finer. Pairs that do not match stay, for :func:`check_weights` to report.

    Source: arXiv 1602.07868; the norm is over all but the first axis, for transposed convolutions too.
    """
    tensors = dict(tensors)
    for magnitude, direction in _NORMALISED:
        for name in [name for name in tensors if name.endswith(f".{magnitude}")]:
            layer = name.removesuffix(magnitude)
            g, v = tensors[name], tensors.get(layer + direction)
            if v is None or v.ndim < 2 or g.numel() != v.shape[0]:
                continue
            del tensors[name], tensors[layer + direction]
            norm = v.double().flatten(1).norm(dim=1)
            scale = (g.double().flatten() / norm).reshape(-1, *[1] * (v.ndim - 1))
            tensors[f"{layer}weight"] = (scale * v.double()).to(torch.promote_types(v.dtype, torch.float32))
    return tensors


def check_weights(tensors: Mapping[str, Tensor], config: DacConfig, where: str) -> None:
    """Check that all tensors of the model are there, with the right shapes, and no others.

    Raises:
        CheckpointError: listing tensors that are missing, unexpected, misshaped or not floating point.
    """
    with torch.device("meta"):
        expected = DacModel(config).state_dict()
    shared = sorted(expected.keys() & tensors.keys())
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of the wrong shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
            for name in shared
            if tensors[name].shape != expected[name].shape
        ],
        "not floating point": [name for name in shared if not tensors[name].is_floating_point()],
    }
    found = "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names)
    if found:
        raise CheckpointError(
            f"the weights in {where} do not fit their config: {found}. "
            "Use the config that was saved with these weights, or get both again"
        )


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write model.safetensors. The old file is replaced, not written into: a loaded model may be mapped to it."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(plain, metadata={"format": "pt"})  # transformers refuses files without it
    with new_file(folder / WEIGHTS_FILE, overwrite=True) as file:
        file.write(data)


def _some(names: Iterable[str], limit: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
