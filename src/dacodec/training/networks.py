"""The networks of a run, new or from existing weights, and the step that trains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dacodec.checkpoint import DacModel as StoredModel
from dacodec.config import DacConfig
from dacodec.engine.recording import Cuda
from dacodec.errors import ConfigError
from dacodec.files import refuse_same_file
from dacodec.model import DacModel
from dacodec.training.checkpoints import DISCRIMINATOR_FILE, LIGHT_FOLDER, load_discriminator
from dacodec.training.config import TrainConfig
from dacodec.training.discriminators import Discriminator
from dacodec.training.graph import Graphed
from dacodec.training.layers import speed_up
from dacodec.training.split import SplitStep
from dacodec.training.step import TrainingStep, published_step
from dacodec.training.weight_norm import add_weight_norm, load_folded


def make_networks(
    config: TrainConfig, stored: dict[str, Any] | None
) -> tuple[DacModel, Discriminator | None]:
    """The initial model and discriminator of a run, without weight normalisation.

    Args:
        stored: the checkpoint that the run resumes from, whose weights are loaded later.

    Raises:
        ConfigError: if their shape is not given.
        OutputError: if the run would overwrite what it starts from.
    """
    torch.manual_seed(config.seed)  # for the initial weights only
    model: DacModel
    if config.init and stored is None:
        refuse_same_file(config.init, Path(config.out) / LIGHT_FOLDER)
        model = StoredModel.from_pretrained(config.init, config=config.model).train()
    elif config.model is not None:
        model = DacModel(config.model).train()
    elif stored is not None:
        model = DacModel(DacConfig.from_dict(stored["config"])).train()
    else:
        raise ConfigError("set model to the shape of a new model, or init to start from an existing one")
    if config.discriminator is None:
        return model, None
    judge = Discriminator(config.discriminator)
    if stored is None:
        _initialise(judge, config)
    return model, judge


def _initialise(judge: Discriminator, config: TrainConfig) -> None:
    """Load the file named in the config, or the one beside the model if there is one."""
    path = config.init_discriminator
    if path == "auto":
        beside = Path(config.init) / DISCRIMINATOR_FILE if config.init else None
        if beside is None or not beside.is_file():
            return
        path = str(beside)
    if path:
        refuse_same_file(path, Path(config.out) / LIGHT_FOLDER / DISCRIMINATOR_FILE)
        shape, tensors = load_discriminator(Path(path))
        if shape != judge.config:
            raise ConfigError(f"the discriminator in {path} has the shape {shape}; set discriminator to this")
        load_folded(judge, tensors, path)


def make_step(
    fabric: Any, config: TrainConfig, model: DacModel, judge: Discriminator | None
) -> TrainingStep | SplitStep:
    """The step named in the config. Both networks get weight normalisation and move to the device."""
    speed_up(model, judge, config.speed, fabric.device)
    for network in (model, judge):
        if network is not None:
            add_weight_norm(network)
            network.to(fabric.device)
    if config.compile:
        for part in (model.encoder, model.decoder, *(judge.discriminators if judge else ())):
            part.compile()
    graph = config.speed.graph and fabric.device.type == "cuda" and fabric.world_size == 1
    autocast = torch.autocast(
        fabric.device.type,
        torch.bfloat16,
        enabled=config.precision == "bf16-mixed",
        cache_enabled=not graph,  # a graph must not use casts cached outside of it
    )
    if config.step == "published":
        return published_step(fabric, config, model, judge, autocast)
    step = SplitStep(fabric, config, model, judge, autocast)
    if graph:
        step.run = Graphed(step.compute, Cuda())
    return step
