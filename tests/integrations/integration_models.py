"""Tiny models for the tests of the transformers integration, and Auto classes that forget what is registered."""

import copy

import pytest
import torch
import transformers
from models import save_model
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from weights import random_audio

from dacodec.integrations.transformers import DacModel, register
from dacodec.integrations.transformers.networks import Network

SHAPE = dict(
    encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=(2, 3), n_codebooks=3,
    codebook_size=16, codebook_dim=4, sampling_rate=24000,
)  # fmt: skip
HOP = 6


def save_small(folder, **changes):
    """A folder with a small model of random weights."""
    return save_model(folder, **(SHAPE | changes))


def load_both(folder, **changes):
    """Our model and transformers' own of the same weights."""
    save_small(folder, **changes)
    return DacModel.from_pretrained(folder), transformers.DacModel.from_pretrained(folder, dtype=torch.float32)


def audio(batch=1, frames=10, seed=2):
    return random_audio(seed, batch=batch, length=frames * HOP)


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
    monkeypatch.setattr(auto, "from_pretrained", auto.from_pretrained)
    monkeypatch.setattr(auto, "from_pretrained", auto.__dict__["from_pretrained"])
    monkeypatch.setattr(Network, "engine", Network.engine)
    register()
    return register
