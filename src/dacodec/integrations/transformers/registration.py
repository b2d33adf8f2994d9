"""Which classes transformers' Auto classes return."""

from __future__ import annotations

from functools import wraps
from typing import Any

import transformers
import transformers.processing_utils
from transformers.models.dac.feature_extraction_dac import DacFeatureExtractor as TheirExtractor
from transformers.models.dac.modeling_dac import DacModel as TheirModel

from dacodec.errors import EngineError
from dacodec.integrations.transformers.config import DacConfig
from dacodec.integrations.transformers.features import (
    WHERE,
    DacFeatureExtractor,
    stored_config,
)
from dacodec.integrations.transformers.model import DacModel
from dacodec.integrations.transformers.networks import ENGINES, Network


def register(engine: str) -> None:
    if engine not in ENGINES:
        raise EngineError(f"unknown engine {engine!r}; there are {', '.join(ENGINES)}")
    Network.engine = engine
    transformers.AutoConfig.register("dac", DacConfig, exist_ok=True)
    transformers.AutoModel.register(DacConfig, DacModel, exist_ok=True)
    transformers.AutoModelForAudioTokenization.register(DacConfig, DacModel, exist_ok=True)
    transformers.AutoFeatureExtractor.register(DacConfig, DacFeatureExtractor, exist_ok=True)
    _tell_feature_extractors_apart()
    _give_processors_ours()


def _tell_feature_extractors_apart() -> None:
    """Return our extractor where the model beside it is a DAC.

    transformers finds an extractor by the name of its class, which files of Xcodec and Higgs Audio use too. So it
    first gets its own, whichever class is registered, and ours replaces it if the model is a DAC.
    """
    auto = transformers.AutoFeatureExtractor
    if hasattr(auto.from_pretrained, "__wrapped__"):
        return
    theirs = auto.from_pretrained.__func__

    @wraps(theirs)
    def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        found = theirs(cls, pretrained_model_name_or_path, **kwargs)
        extractor = found[0] if isinstance(found, tuple) else found
        if type(extractor) is not TheirExtractor:
            return found
        where = {name: kwargs[name] for name in WHERE if name in kwargs}
        if stored_config(pretrained_model_name_or_path, **where).get("model_type", "dac") != "dac":
            return found
        own = {name: value for name, value in kwargs.items() if name not in ("config", "trust_remote_code")}
        return DacFeatureExtractor.from_pretrained(pretrained_model_name_or_path, **own)

    auto.from_pretrained = classmethod(from_pretrained)  # type: ignore[arg-type]


def _give_processors_ours() -> None:
    """Return our model for saved processors that contain a DAC, such as Dia's: they name its class, which
    transformers takes to be its own."""
    mixin = transformers.ProcessorMixin
    if hasattr(mixin.get_processor_dict, "__wrapped__"):
        return
    theirs = mixin.get_processor_dict.__func__

    @wraps(theirs)
    def get_processor_dict(cls: Any, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        values, rest = theirs(cls, pretrained_model_name_or_path, **kwargs)
        if type(values.get("audio_tokenizer")) is TheirModel:
            values = {**values, "audio_tokenizer": DacModel.of(values["audio_tokenizer"])}
        return values, rest

    mixin.get_processor_dict = classmethod(get_processor_dict)  # type: ignore[arg-type]
