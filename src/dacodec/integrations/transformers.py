"""Make the Auto classes of Hugging Face's ``transformers`` give this package's DAC.

from dacodec.integrations.transformers import register
register()
AutoModel.from_pretrained("descript/dac_44khz")  # a dacodec.DacModel
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import dacodec.checkpoint as checkpoint
from dacodec.checkpoint.configs import CONFIG_FILE, lenient_config
from dacodec.errors import DacodecError

# What the Auto classes tell the classes that they call, beside what their caller said.
_INTERNAL = (
    "_from_auto",
    "_commit_hash",
    "adapter_kwargs",
    "code_revision",
    "name_or_path",
    "trust_remote_code",
)


def register() -> None:
    """From now on AutoConfig, AutoModel and AutoFeatureExtractor give our classes for models of type "dac".

    AutoProcessor and AutoModelForAudioTokenization follow. Doing it again changes nothing. transformers finds
    a feature extractor by its class name alone, so other models whose files say "DacFeatureExtractor" (Xcodec,
    Higgs Audio's tokenizer) get ours too in this process.

    Raises:
        DacodecError: if transformers is not installed.
    """
    try:
        import transformers
        from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES
    except ImportError as error:
        raise DacodecError("transformers is not installed: pip install transformers") from error
    transformers.AutoConfig.register("dac", DacConfig, exist_ok=True)
    transformers.AutoModel.register(DacConfig, _ModelLoader, exist_ok=True)
    transformers.AutoModelForAudioTokenization.register(DacConfig, _ModelLoader, exist_ok=True)
    transformers.AutoFeatureExtractor.register(DacConfig, DacFeatureExtractor, exist_ok=True)
    # In its search by name its own classes come before registered ones.
    FEATURE_EXTRACTOR_MAPPING_NAMES.pop("dac", None)


class DacConfig(checkpoint.DacConfig):
    """``dacodec.DacConfig`` with what the Auto classes look for in a config."""

    model_type: ClassVar[str] = "dac"
    sub_configs: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """As in transformers: keywords that are fields override the values, the others are handed back."""
        stored = {name: value for name, value in values.items() if name not in _INTERNAL}
        config = lenient_config(stored, checkpoint.DacConfig, Path(CONFIG_FILE))
        own = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        own |= {name: kwargs.pop(name) for name in own.keys() & kwargs.keys()}
        return (cls(**own), kwargs) if return_unused_kwargs else cls(**own)


class _ModelLoader:
    """What AutoModel calls to get a ``dacodec.DacModel``."""

    config_class = DacConfig

    @classmethod
    def from_pretrained(cls, source: str, **kwargs: Any) -> checkpoint.DacModel:
        return checkpoint.DacModel.from_pretrained(source, **_of_the_caller(kwargs))

    @classmethod
    def _from_config(cls, config: DacConfig, **kwargs: Any) -> checkpoint.DacModel:
        dtype = kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None)
        if kwargs:
            raise TypeError(f"from_config got unknown keywords {sorted(kwargs)}")
        model = checkpoint.DacModel(config)
        return model if dtype is None else model.to(dtype)


class DacFeatureExtractor(checkpoint.DacFeatureExtractor):
    """``dacodec.DacFeatureExtractor`` called as AutoFeatureExtractor does."""

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        return super().from_pretrained(source, **_of_the_caller(kwargs))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **kwargs: Any) -> Any:
        """For transformers 4, which reads the file itself."""
        return super().from_dict(values)


def _of_the_caller(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in _INTERNAL}
