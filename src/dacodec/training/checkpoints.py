"""What a run writes to disk: checkpoints to resume from exactly, and a light form to use or to start another run from.

A checkpoint holds everything. Random numbers and the position in the data follow from the seed and the step, so of these
only the step is stored. The light form, ``model/`` in the run's folder, holds the averaged weights in half precision
(codebooks, biases and alphas in float32) in Hugging Face's layout, with the discriminator's beside them. Every command
accepts it as a model, and a run can start from it with fresh optimisers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dacodec.checkpoint import DacFeatureExtractor
from dacodec.checkpoint.configs import folder_to_write, write_config, write_preprocessor_of
from dacodec.checkpoint.sources import builtin_folder
from dacodec.checkpoint.weights import (
    check_weights,
    fold_weight_norm,
    named_tensors,
    read_pickle,
    write_weights,
)
from dacodec.config import DacConfig
from dacodec.errors import CheckpointError
from dacodec.files import new_file
from dacodec.training.discriminators import DiscriminatorConfig

BUILTIN_DISCRIMINATORS = Path(__file__).parents[3] / "discriminators"  # of a checkout
LIGHT_FOLDER = "model"
DISCRIMINATOR_FILE = "discriminator.safetensors"


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write the checkpoint of ``step``, whole or not at all, then remove all but the newest ``keep``."""
    folder_to_write(folder)
    path = folder / f"step-{step:08d}.pt"
    with new_file(path, overwrite=True) as file:
        torch.save(dict(state), file)
    for old in _checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint, on the CPU; None if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    checkpoints = _checkpoints(folder)
    return dict(read_pickle(checkpoints[-1])) if checkpoints else None


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("step-*.pt"))


def save_light(
    folder: Path,
    config: DacConfig,
    model: Mapping[str, Tensor],
    shape: DiscriminatorConfig | None = None,
    discriminator: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the light form from folded tensors, that is, without weight normalisation."""
    check_weights(model, config, "this run")
    folder_to_write(folder)
    write_weights(folder, _halved(model))
    write_config(folder, config, dtype="float32")
    write_preprocessor_of(folder, config, DacFeatureExtractor().to_dict())
    if shape is not None and discriminator is not None:
        data = safetensors.torch.save(_halved(discriminator), {"config": json.dumps(asdict(shape))})
        with new_file(folder / DISCRIMINATOR_FILE, overwrite=True) as file:
            file.write(data)


def discriminator_of(model: str) -> Path:
    """The path of the discriminator of ``model``, if it has one: beside its weights.

    The discriminator of a built-in model is as large as the model and used only in training, so it is in the repository
    but not in the installed package.
    """
    builtin = builtin_folder(model)
    return (
        BUILTIN_DISCRIMINATORS / f"{builtin.name}.safetensors"
        if builtin
        else Path(model) / DISCRIMINATOR_FILE
    )


def load_discriminator(path: Path) -> tuple[DiscriminatorConfig, dict[str, Tensor]]:
    """A discriminator's shape and folded weights: ours, or a ``.pth`` file of the original's training.

    Raises:
        CheckpointError: if there is none, or it cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no discriminator {path}; leave init_discriminator empty for a new one"
        )
    if path.suffix == ".pth":
        return DiscriminatorConfig(), _original_weights(path)
    try:
        with safe_open(path, "pt") as file:
            shape = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or not a discriminator of dacodec ({error})") from error
    return DiscriminatorConfig(**shape), tensors


def _original_weights(path: Path) -> dict[str, Tensor]:
    """The original stores each layer in a pair with its activation: ``convs.0.0.weight``."""
    stored = read_pickle(path)
    state = stored["state_dict"] if isinstance(stored, Mapping) and "state_dict" in stored else stored
    tensors = fold_weight_norm(named_tensors(state, path))
    return {re.sub(r"(convs(?:\.\d+)+)\.0\.(weight|bias)$", r"\1.\2", name): x for name, x in tensors.items()}


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Codebooks stay in float32, because the search compares their rows; biases and alphas are small.
    return {
        name: (x.half() if x.ndim >= 3 and name.endswith("weight") else x.float()).cpu().contiguous()
        for name, x in tensors.items()
    }
