"""Folders that we save, loaded by transformers; and register(). Run in an environment that has transformers:

PYTHONPATH=src:tests:tests/checkpoint .venv-hf5/bin/python -m pytest --noconftest tests/checkpoint/live_transformers.py
"""

import subprocess
import sys

import pytest
import torch
import transformers
from checkpoint_models import AUDIO, DATA, assert_same_model, change_json, small_model

import dacodec
from dacodec.checkpoint import fingerprint, load_model
from dacodec.integrations.transformers import register


@pytest.fixture
def folder(tmp_path):
    small_model(quantizer_dropout=0.5).save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture(scope="module")
def registered():
    register()
    register()


# Before register(): these come first.


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


def test_importing_registers_nothing():
    code = """
import transformers, dacodec, dacodec.checkpoint, dacodec.integrations.transformers
assert transformers.AutoConfig.for_model("dac").__class__ is transformers.DacConfig
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# After


def test_auto_config(registered, folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    assert isinstance(config, dacodec.DacConfig)
    assert config == small_model(quantizer_dropout=0.5).config
    config, rest = transformers.AutoConfig.from_pretrained(
        folder, quantizer_dropout=0.25, colour="red", return_unused_kwargs=True
    )
    assert config.quantizer_dropout == 0.25
    assert rest["colour"] == "red"


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForAudioTokenization"])
def test_auto_model(registered, folder, auto):
    model = getattr(transformers, auto).from_pretrained(folder)
    assert type(model) is dacodec.DacModel
    assert_same_model(model, small_model())
    assert not model.training


def test_auto_model_with_arguments(registered, folder):
    model = transformers.AutoModel.from_pretrained(str(folder), dtype=torch.float16, quantizer_dropout=0.25)
    assert model.dtype == torch.float16
    assert model.config.quantizer_dropout == 0.25
    model = transformers.AutoModel.from_pretrained(
        folder, torch_dtype=torch.bfloat16, trust_remote_code=False
    )
    assert model.dtype == torch.bfloat16
    with pytest.raises(TypeError, match="attn_implementation"):
        transformers.AutoModel.from_pretrained(folder, attn_implementation="sdpa")


def test_auto_model_from_config(registered, folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    assert type(transformers.AutoModel.from_config(config)) is dacodec.DacModel


def test_auto_model_from_the_cache(registered, tmp_path):
    repo = tmp_path / "models--org--toy"
    small_model().save_pretrained(repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    model = transformers.AutoModel.from_pretrained("org/toy", cache_dir=tmp_path, local_files_only=True)
    assert type(model) is dacodec.DacModel
    assert_same_model(model, small_model())
    extractor = transformers.AutoFeatureExtractor.from_pretrained(
        "org/toy", cache_dir=tmp_path, local_files_only=True
    )
    assert isinstance(extractor, dacodec.DacFeatureExtractor)


@pytest.mark.parametrize("auto", ["AutoFeatureExtractor", "AutoProcessor"])
@pytest.mark.parametrize("source", ["ours", "transformers'", "without its type"])
def test_auto_feature_extractor(registered, folder, auto, source):
    if source == "transformers'":
        folder = DATA / "hf4"
    elif source == "without its type":
        change_json(folder / "preprocessor_config.json", feature_extractor_type=None)
    extractor = getattr(transformers, auto).from_pretrained(folder)
    assert isinstance(extractor, dacodec.DacFeatureExtractor)
    assert (extractor.sampling_rate, extractor.hop_length) == (24000, 6)
    inputs = extractor(AUDIO[0, 0].numpy(), sampling_rate=24000, return_tensors="pt")
    assert inputs["input_values"].shape == (1, 1, 60)


def test_a_wrong_hop_length_in_the_config_is_mended(registered, folder):
    change_json(folder / "config.json", hop_length=512)
    with pytest.warns(UserWarning, match="hop_length"):
        assert transformers.AutoModel.from_pretrained(folder).config.hop_length == 6


def test_other_models_are_as_before(registered):
    config = transformers.AutoConfig.for_model("encodec")
    assert isinstance(config, transformers.EncodecConfig)
