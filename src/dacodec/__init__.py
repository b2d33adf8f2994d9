"""dacodec: the Descript Audio Codec as a small, fast, trustworthy Python package.

Importing this does no work: the public names are loaded at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dacodec.checkpoint import AutoProcessor as AutoProcessor
    from dacodec.checkpoint import DacConfig as DacConfig
    from dacodec.checkpoint import DacFeatureExtractor as DacFeatureExtractor
    from dacodec.checkpoint import DacModel as DacModel
    from dacodec.codec import Codec as Codec
    from dacodec.encoded import Encoded as Encoded
    from dacodec.geometry import Geometry as Geometry
    from dacodec.model import DacDecoderOutput as DacDecoderOutput
    from dacodec.model import DacEncoderOutput as DacEncoderOutput
    from dacodec.model import DacOutput as DacOutput

_HOME = {
    "AutoProcessor": "dacodec.checkpoint",
    "Codec": "dacodec.codec",
    "Encoded": "dacodec.encoded",
    "DacConfig": "dacodec.checkpoint",
    "DacFeatureExtractor": "dacodec.checkpoint",
    "Geometry": "dacodec.geometry",
    "DacModel": "dacodec.checkpoint",
    "DacOutput": "dacodec.model",
    "DacEncoderOutput": "dacodec.model",
    "DacDecoderOutput": "dacodec.model",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dacodec' has no attribute {name!r}")
    import_module("dacodec.installation").refuse_zip()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
