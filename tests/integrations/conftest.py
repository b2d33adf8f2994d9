"""Auto classes whose registrations are undone."""

import copy

import pytest
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

from dacodec.integrations.transformers import register
from dacodec.integrations.transformers.networks import Network


@pytest.fixture
def registered(monkeypatch):
    """register(), for one test."""
    for mapping in (
        CONFIG_MAPPING,
        FEATURE_EXTRACTOR_MAPPING,
        transformers.AutoModel._model_mapping,
        transformers.AutoModelForAudioTokenization._model_mapping,
    ):
        monkeypatch.setattr(mapping, "_extra_content", copy.copy(mapping._extra_content))
    auto = transformers.AutoFeatureExtractor
    monkeypatch.setattr(auto, "from_pretrained", auto.__dict__["from_pretrained"])
    mixin = transformers.ProcessorMixin
    monkeypatch.setattr(mixin, "get_processor_dict", mixin.__dict__["get_processor_dict"])
    monkeypatch.setattr(Network, "engine", Network.engine)
    register()
    return register
