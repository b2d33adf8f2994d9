"""How a model is run: one interface, several engines."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from dacodec.engine.base import Engine, State
from dacodec.engine.eager import TorchEngine
from dacodec.engine.native import PRECISIONS, NativeEngine
from dacodec.engine.native.library import is_built
from dacodec.errors import EngineError
from dacodec.model import DacModel

__all__ = ["ENGINES", "PRECISIONS", "Engine", "NativeEngine", "State", "TorchEngine", "make_engine"]

ENGINES = ("auto", "native", "torch", "torch-compile")


def make_engine(
    model: DacModel, name: str = "auto", precision: str = "fast", threads: int | None = None
) -> Engine:
    """The engine called ``name`` for ``model``.

    Args:
        name: ``"auto"`` is native for float32 on the CPU if it was built, and torch otherwise.
        precision: of the native engine, ``"fast"`` or ``"exact"``; the others are exact.
        threads: per call of the native engine, at most one per core; by default as many as PyTorch uses and a
            container's quota allows.

    Raises:
        EngineError: for an unknown name or precision, or if the native engine was not built.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if name == "auto":
        name = "native" if _suits_native(model) else "torch"
    if name == "native":
        return NativeEngine(model, precision, threads)
    return TorchEngine(model, compiled=name == "torch-compile")


def _suits_native(model: DacModel) -> bool:
    suits = model.device.type == "cpu" and model.dtype == torch.float32
    if suits and not is_built():
        _tell_once()
    return suits and is_built()


@cache
def _tell_once() -> None:
    warnings.warn(
        "dacodec was installed without its native engine because there was no C++ compiler; PyTorch does the "
        "work, several times slower. Install g++ or clang++ and dacodec again, or choose engine='torch'.",
        stacklevel=4,
    )
