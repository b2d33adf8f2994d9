"""The codec as classes of Hugging Face's ``transformers`` 4.56 or newer, for programs that need its types.

from dacodec.integrations.transformers import register
register()
AutoModel.from_pretrained("descript/dac_44khz")  # dacodec.integrations.transformers.DacModel, a transformers.DacModel

The classes here are subclasses of transformers' own of the same names, so they are accepted wherever those are (Dia's
processor, Trainer, PEFT, accelerate), with this package's layers, masks and corrections inside. Code that does not
need that is better served by ``dacodec.DacModel``, which does not need transformers.

Importing this module does nothing yet. The classes are created on first use, when transformers is imported.
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
    """Make transformers' Auto classes return ours for models of type "dac". A second call changes the engine.

    This concerns AutoConfig, AutoModel, AutoModelForAudioTokenization, AutoFeatureExtractor and AutoProcessor, and saved
    processors that contain a DAC, such as Dia's. Models that contain only parts of a DAC, such as Xcodec and Higgs
    Audio's tokenizer, are left alone: see :class:`DacConfig`. The name ``transformers.DacModel`` still means
    transformers' own class.

    Args:
        engine: ``"auto"`` runs the encoder and the decoder natively where the result is that of PyTorch (float32 on the
            CPU, without gradients, hooks, replaced layers, compilation and the like), and otherwise in PyTorch;
            ``"torch"`` always uses PyTorch; ``"native"`` raises with the reason where it cannot run natively.
            ``model.engine`` sets it for one model.

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
    # Importing some of its modules replaces the module transformers by a copy. Attributes set on the old one, before or
    # after, would be visible only there.
    sys.modules["transformers"] = transformers
    return module


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
