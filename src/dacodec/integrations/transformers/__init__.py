"""The codec as classes of Hugging Face's ``transformers`` 4.56 or newer: for programs that want its own types.

from dacodec.integrations.transformers import register
register()
AutoModel.from_pretrained("descript/dac_44khz")  # dacodec.integrations.transformers.DacModel, a transformers.DacModel

The classes here are subclasses of transformers' own of the same names, so that they pass wherever those do (Dia's
processor, Trainer, PEFT, accelerate), with this package's layers, masks and corrections inside. Code that does not
need that is better served by ``dacodec.DacModel``, which wants no transformers.

Importing this does nothing yet; the classes are made at first use, when transformers is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dacodec.errors import DacodecError

if TYPE_CHECKING:
    from dacodec.integrations.transformers.config import DacConfig as DacConfig
    from dacodec.integrations.transformers.features import DacFeatureExtractor as DacFeatureExtractor
    from dacodec.integrations.transformers.model import DacModel as DacModel
    from dacodec.integrations.transformers.streamer import AudioPiece as AudioPiece
    from dacodec.integrations.transformers.streamer import AudioStreamer as AudioStreamer

_HOME = {
    "AudioPiece": "streamer",
    "AudioStreamer": "streamer",
    "DacConfig": "config",
    "DacFeatureExtractor": "features",
    "DacModel": "model",
}

__all__ = ["AudioPiece", "AudioStreamer", "DacConfig", "DacFeatureExtractor", "DacModel", "register"]


def register(engine: str = "auto") -> None:
    """From now on transformers' Auto classes give ours for models of type "dac". Doing it again changes the engine.

    That is AutoConfig, AutoModel, AutoModelForAudioTokenization, AutoFeatureExtractor and AutoProcessor, and saved
    processors that hold a DAC, such as Dia's. Models that have only parts of a DAC in them, as Xcodec and Higgs Audio's
    tokenizer, are as they were: see :class:`DacConfig`. ``transformers.DacModel`` by name stays transformers' own.

    Args:
        engine: ``"auto"`` runs the encoder and the decoder natively where that gives what PyTorch would (float32 on the
            CPU, without gradients, hooks, other layers, compilation and the like), and else by PyTorch; ``"torch"`` is
            always PyTorch; ``"native"`` says why where it cannot be native. ``model.engine`` sets it for one model.

    Raises:
        DacodecError: if transformers is not installed.
        EngineError: for an unknown engine.
    """
    _import("registration").register(engine)


def _import(name: str) -> Any:
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise DacodecError("transformers is not installed: pip install transformers") from error
    module = import_module(f"{__name__}.{name}")
    # Some of its modules, when imported, put a copy of transformers in place of itself; whoever had set something on
    # the module before, or does it afterwards to the one that it has, would be alone with that.
    sys.modules["transformers"] = transformers
    return module


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
