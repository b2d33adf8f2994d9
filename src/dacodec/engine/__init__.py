"""How a model is run: one interface, several engines."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from dacodec.engine.base import Engine, State
from dacodec.engine.cuda import CudaEngine, has_triton
from dacodec.engine.eager import TorchEngine
from dacodec.engine.native import PRECISIONS, NativeEngine
from dacodec.engine.native.library import is_built
from dacodec.errors import EngineError
from dacodec.model import DacModel

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "CudaEngine",
    "Engine",
    "NativeEngine",
    "State",
    "TorchEngine",
    "make_engine",
]

ENGINES = ("auto", "native", "cuda", "torch", "torch-compile")


def make_engine(
    model: DacModel, name: str = "auto", precision: str | None = None, threads: int | None = None
) -> Engine:
    """The engine called ``name`` for ``model``.

    Args:
        name: ``"auto"`` is native for float32 on the CPU if it was built, cuda on a GPU, and torch otherwise.
        precision: ``"fast"`` or ``"exact"``; by default fast on the CPU, where it is nearly exact, and exact on a
            GPU, where it is not. The torch engines are exact.
        threads: per call of the native engine, at most one per core; by default as many as PyTorch uses and a
            container's quota allows.

    Raises:
        EngineError: for an unknown name or precision, or if the engine cannot run here.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    if precision not in (None, *PRECISIONS):
        raise EngineError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if name == "auto":
        name, precision = _suited(model, precision)
    if name == "native":
        return NativeEngine(model, precision or "fast", threads)
    if name == "cuda":
        return CudaEngine(model, precision or "exact")
    return TorchEngine(model, compiled=name == "torch-compile")


def _suited(model: DacModel, precision: str | None) -> tuple[str, str | None]:
    """The engine for ``model`` here, and the precision it can have."""
    if model.device.type == "cuda":
        if precision == "fast" and not has_triton():
            _warn_once("Triton is not installed: coding in precision='exact' instead. pip install triton")
            precision = "exact"
        return "cuda", precision
    if model.device.type == "cpu" and model.dtype == torch.float32:
        if is_built():
            return "native", precision
        _warn_once(
            "dacodec was installed without its native engine because there was no C++ compiler; PyTorch does the "
            "work, several times slower. Install g++ or clang++ and dacodec again, or choose engine='torch'."
        )
    return "torch", precision


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=5)
