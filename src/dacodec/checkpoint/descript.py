"""Weights of the original ``descript-audio-codec`` package, a ``.pth`` file, under our names.

Such a file holds ``{"state_dict": ..., "metadata": {"kwargs": ...}}``. It is a pickle, read as plain data only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dacodec.checkpoint.weights import fold_weight_norm, named_tensors, read_pickle
from dacodec.config import Config
from dacodec.errors import CheckpointError, ConfigError

# The original's arguments, our names for them, and the original's defaults (ours are the 16 kHz model's).
_ARGUMENTS: dict[str, tuple[str, Any]] = {
    "encoder_dim": ("encoder_hidden_size", 64),
    "encoder_rates": ("downsampling_ratios", [2, 4, 8, 8]),
    "latent_dim": ("hidden_size", None),
    "decoder_dim": ("decoder_hidden_size", 1536),
    "n_codebooks": ("n_codebooks", 9),
    "codebook_size": ("codebook_size", 1024),
    "codebook_dim": ("codebook_dim", 8),
    "quantizer_dropout": ("quantizer_dropout", 0.0),
    "sample_rate": ("sampling_rate", 44100),
}


def read_descript(path: Path, kind: type[Config]) -> tuple[Config, dict[str, Tensor]]:
    """The config, of type ``kind``, and the tensors, under our names and without weight normalisation.

    Weight normalisation may be torch's old hook (``weight_g``), its parametrization, or folded already.

    Raises:
        CheckpointError: if the file is not of that form, or a DacConfig cannot describe its model.
    """
    stored = read_pickle(path)
    metadata = stored.get("metadata") if isinstance(stored, Mapping) else None
    kwargs = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
    if not isinstance(kwargs, Mapping) or "state_dict" not in stored:
        raise CheckpointError(
            f"{path} is not a weights file of descript-audio-codec, which holds "
            "'state_dict' and 'metadata' with 'kwargs'"
        )
    config = _config_of(kwargs, path, kind)
    names = layer_names(len(config.downsampling_ratios))
    tensors = {}
    for key, tensor in fold_weight_norm(named_tensors(stored["state_dict"], path)).items():
        layer, _, parameter = key.rpartition(".")
        # The quantizer's layers keep their names. Anything unknown stays, for the strict check to report.
        tensors[f"{names.get(layer, layer)}.{parameter}"] = tensor
    return config, tensors


def layer_names(n_blocks: int) -> dict[str, str]:
    """Our name for each of the original's layers, in a model of ``n_blocks`` strides."""
    unit = ("snake1", "conv1", "snake2", "conv2")
    units = ("res_unit1", "res_unit2", "res_unit3")
    names = {}
    # The rate changes after the units of an encoder block and before those of a decoder block.
    for theirs, ours, block in (
        ("encoder.block", "encoder", (*units, "snake1", "conv1")),
        ("decoder.model", "decoder", ("snake1", "conv_t1", *units)),
    ):
        names[f"{theirs}.0"] = f"{ours}.conv1"
        names[f"{theirs}.{n_blocks + 1}"] = f"{ours}.snake1"
        names[f"{theirs}.{n_blocks + 2}"] = f"{ours}.conv2"
        for i in range(n_blocks):
            for j, layer in enumerate(block):
                theirs_here, ours_here = f"{theirs}.{i + 1}.block.{j}", f"{ours}.block.{i}.{layer}"
                if layer in units:
                    for k, inner in enumerate(unit):
                        names[f"{theirs_here}.block.{k}"] = f"{ours_here}.{inner}"
                else:
                    names[theirs_here] = ours_here
    return names


def _config_of(kwargs: Mapping[str, Any], path: Path, kind: type[Config]) -> Config:
    unknown = sorted(map(str, set(kwargs) - set(_ARGUMENTS) - {"decoder_rates"}))
    if unknown:  # the original drops them too
        warnings.warn(f"{path}: ignoring unknown arguments {unknown}", stacklevel=2)
    values = {ours: kwargs.get(theirs, default) for theirs, (ours, default) in _ARGUMENTS.items()}
    dims = values["codebook_dim"]
    if isinstance(dims, (list, tuple)) and len(set(dims)) == 1:  # the original takes a list, one per codebook
        values["codebook_dim"] = dims[0]
    try:
        values["quantizer_dropout"] = float(values["quantizer_dropout"])  # the original's default is False
        config = kind(**values)
        rates = tuple(kwargs.get("decoder_rates", config.upsampling_ratios))
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if rates != config.upsampling_ratios:
        raise CheckpointError(
            f"{path}: decoder_rates {list(rates)} are not encoder_rates "
            f"{list(config.downsampling_ratios)} reversed; such a model is not supported"
        )
    return config
