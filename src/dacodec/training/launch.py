"""Starts a run: its processes, its devices, its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import torch

from dacodec.errors import ConfigError, DacodecError, OutputError, TrainingError
from dacodec.locking import lock
from dacodec.training.config import CONFIG_FILE, TrainConfig, check_replaceable


def launch(config: TrainConfig) -> Any:
    """Lightning Fabric with all processes started, and PyTorch set up as configured.

    Raises:
        ConfigError: if a package is missing, or batches cannot be divided among the processes.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ConfigError("training needs more packages: pip install dacodec[train]") from error
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
    alone = config.devices == config.num_nodes == 1
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="auto" if alone else "ddp",
    )
    fabric.launch()
    if config.batch_size % (fabric.world_size * config.accumulate):
        raise ConfigError(
            f"batch_size {config.batch_size} must be a multiple of {fabric.world_size} processes times "
            f"{config.accumulate} parts"
        )
    _set_up_cudnn(config)
    return fabric


def _set_up_cudnn(config: TrainConfig) -> None:
    # All crops have the same length, so it pays to search for the fastest convolutions.
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.backends.cudnn.benchmark_limit = config.speed.cudnn_search
    if config.speed.tf32:
        torch.backends.cudnn.allow_tf32 = True
    elif config.precision == "bf16-mixed":
        # What remains in float32 does so on purpose: the quantizer's projections decide the codes.
        torch.backends.cudnn.allow_tf32 = False


def reserve(fabric: Any, folder: Path) -> TextIO | None:
    """Lock the run's folder in the first process; all processes fail if it is not available.

    Raises:
        TrainingError: if another process trains there.
        OutputError: if it cannot be written, or contains a config written by a person.
    """
    held: TextIO | None = None
    problem: Exception | None = None
    if fabric.is_global_zero:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = lock(folder, "training", TrainingError)
            check_replaceable(folder / CONFIG_FILE)
        except OSError as error:
            problem = OutputError(f"cannot train in {folder}: {error.strerror or error}")
        except DacodecError as error:
            problem = error
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem
    return held
