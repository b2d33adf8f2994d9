"""How a model is run: one interface, several engines."""

from __future__ import annotations

from dacodec.engine.base import Engine
from dacodec.engine.eager import TorchEngine
from dacodec.errors import EngineError
from dacodec.model import DacModel

__all__ = ["ENGINES", "Engine", "TorchEngine", "make_engine"]

ENGINES = ("auto", "torch", "torch-compile")


def make_engine(model: DacModel, name: str = "auto") -> Engine:
    """The engine called ``name`` for ``model``; ``auto`` is the fastest that is right everywhere.

    Raises:
        EngineError: for an unknown name.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
    return TorchEngine(model, compiled=name == "torch-compile")
