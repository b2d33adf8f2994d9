"""Models in files: folders in Hugging Face's layout, the hub, built-in models, Descript's weights.

Loading, saving, and a model's identity. The network and its config, which know nothing of files, are in
``dacodec.model`` and ``dacodec.config``.
"""

from dacodec.checkpoint.hub import download
from dacodec.checkpoint.identity import fingerprint, fingerprint_of
from dacodec.checkpoint.pretrained import DacConfig, DacModel, LoadedModel, import_weights, load_model
from dacodec.checkpoint.processor import AutoProcessor, DacFeatureExtractor
from dacodec.checkpoint.sources import BUILTIN

__all__ = [
    "BUILTIN",
    "AutoProcessor",
    "DacConfig",
    "DacFeatureExtractor",
    "DacModel",
    "LoadedModel",
    "download",
    "fingerprint",
    "fingerprint_of",
    "import_weights",
    "load_model",
]
