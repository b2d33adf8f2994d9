"""Folders that we save, loaded by transformers. Run in an environment that has transformers:

PYTHONPATH=src:tests:tests/checkpoint .venv-hf5/bin/python -m pytest --noconftest tests/checkpoint/live_transformers.py
"""

import pytest
import torch
import transformers
from checkpoint_models import assert_same_model, small_model

import dacodec
from dacodec.checkpoint import fingerprint, load_model


@pytest.fixture
def folder(tmp_path):
    small_model(quantizer_dropout=0.5).save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_transformers_loads_what_we_save(folder, dtype):
    small_model().to(dtype).save_pretrained(folder)
    model, info = transformers.DacModel.from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not any(info.values()), info
    assert model.dtype == dtype
    state = small_model().to(dtype).state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    config = transformers.AutoConfig.from_pretrained(folder)
    assert isinstance(config, transformers.DacConfig)
    assert (config.hop_length, config.hidden_size) == (6, 8)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    assert isinstance(extractor, transformers.DacFeatureExtractor)
    assert (extractor.hop_length, extractor.sampling_rate) == (6, 24000)


def test_we_load_what_transformers_saves(folder, tmp_path):
    model = transformers.DacModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    loaded = load_model(tmp_path / "again")
    assert loaded.fingerprint == fingerprint(small_model())
    assert_same_model(loaded.model, small_model())
    model.apply_weight_norm()
    model.save_pretrained(tmp_path / "again")
    assert load_model(tmp_path / "again").fingerprint == fingerprint(small_model())


def test_configs_there_and_back(tmp_path):
    theirs = transformers.DacConfig(
        downsampling_ratios=[2, 4, 5, 8], n_codebooks=12, hidden_size=128, architectures=["DacModel"]
    )
    theirs.save_pretrained(tmp_path)
    ours = dacodec.DacConfig.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path)
    assert transformers.DacConfig.from_pretrained(tmp_path).to_dict() == theirs.to_dict()
