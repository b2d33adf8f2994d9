"""The public classes, used as in transformers."""

import copy
import dataclasses
import io
import pickle
import sys

import numpy as np
import pytest
import torch
from checkpoint_models import AUDIO, assert_same_model, small_config, small_model

import dacodec
from dacodec import config as lower_config
from dacodec import model as lower_model
from dacodec.checkpoint import fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "toy"
    small_model().save_pretrained(folder)
    return folder


def test_the_usage_example_of_transformers(folder):
    """From its documentation, with the import line and the model's name changed."""
    from dacodec import AutoProcessor, DacModel

    model = DacModel.from_pretrained(str(folder))
    processor = AutoProcessor.from_pretrained(str(folder))
    audio_sample = AUDIO[0, 0].numpy().astype(np.float64)[:58]
    inputs = processor(raw_audio=audio_sample, sampling_rate=processor.sampling_rate, return_tensors="pt")

    encoder_outputs = model.encode(inputs["input_values"])
    audio_codes = encoder_outputs.audio_codes
    audio_values = model.decode(encoder_outputs.quantized_representation)
    assert audio_codes.shape == (1, 3, 10)
    again = model(inputs["input_values"]).audio_values
    assert torch.equal(again, audio_values[0])
    assert again.shape == (1, 58)  # 60 with the padding, minus what the odd stride loses


def test_the_config_example_of_transformers():
    from dacodec import DacConfig, DacModel

    configuration = DacConfig(encoder_hidden_size=1, decoder_hidden_size=16)
    model = DacModel(configuration)
    configuration = model.config
    assert configuration.hidden_size == 16


def test_a_config_equals_that_without_files():
    public = small_config()
    lower = lower_config.DacConfig(**{f.name: getattr(public, f.name) for f in dataclasses.fields(public)})
    assert public == lower
    assert lower == public
    assert hash(public) == hash(lower)
    assert public != small_config(n_codebooks=4)
    assert public != "config"
    assert type(dacodec.DacConfig.from_dict(public.to_dict())) is dacodec.DacConfig
    assert type(dataclasses.replace(public, n_codebooks=4)) is dacodec.DacConfig


def test_a_model_is_that_without_files():
    model = small_model()
    assert isinstance(model, lower_model.DacModel)
    assert model.state_dict().keys() == lower_model.DacModel(small_config()).state_dict().keys()


def test_copies_pickles_and_exports(folder):
    model = dacodec.DacModel.from_pretrained(folder)
    assert_same_model(copy.deepcopy(model), model)
    assert type(copy.deepcopy(model)) is dacodec.DacModel
    assert_same_model(pickle.loads(pickle.dumps(model)), model)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = small_model(seed=2)
    other.load_state_dict(torch.load(buffer))
    assert_same_model(other, model)
    smaller = small_model(downsampling_ratios=(2,), n_codebooks=1)
    with torch.no_grad():
        exported = torch.export.export(smaller, (AUDIO,)).module()
        torch.testing.assert_close(exported(AUDIO).audio_values, smaller(AUDIO).audio_values)


def test_a_loaded_model_can_be_trained(folder):
    model = dacodec.DacModel.from_pretrained(folder).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(AUDIO).loss.mean().backward()
    optimizer.step()
    assert fingerprint(model) != fingerprint(small_model())
    # The file is mapped privately: training a loaded model does not write to it.
    assert_same_model(dacodec.DacModel.from_pretrained(folder), small_model())


def test_a_subclass_loads_as_itself(folder):
    class Mine(dacodec.DacModel):
        pass

    assert type(Mine.from_pretrained(folder)) is Mine


@pytest.mark.parametrize("keyword", ["device_map", "use_safetensors", "subfolder", "atn_implementation"])
def test_unknown_keywords_raise(folder, keyword):
    with pytest.raises(TypeError, match=keyword):
        dacodec.DacModel.from_pretrained(folder, **{keyword: None})


def test_register_without_transformers(monkeypatch):
    from dacodec.errors import DacodecError
    from dacodec.integrations.transformers import register

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DacodecError, match="pip install transformers"):
        register()
