"""The parts of transformers' interface that the plain classes have, with transformers' results. Needs transformers."""

import json
from contextlib import nullcontext

import pytest
import torch
import transformers
from integration_models import audio, save_small

import dacodec

CHANGES = [dict(), dict(n_codebooks=4, downsampling_ratios=[2, 3], quantizer_dropout=0.5)]


@pytest.fixture
def models(tmp_path):
    folder = save_small(tmp_path)
    return dacodec.DacModel.from_pretrained(folder), transformers.DacModel.from_pretrained(folder)


def without_version(values):
    return {name: value for name, value in values.items() if name != "transformers_version"}


@pytest.mark.parametrize("changes", CHANGES)
def test_configs(changes, tmp_path):
    ours, theirs = dacodec.DacConfig(**changes), transformers.DacConfig(**changes)
    assert ours.model_type == theirs.model_type == "dac"
    # Via JSON, which has only lists.
    expected = without_version(json.loads(theirs.to_json_string()))
    assert json.loads(json.dumps(ours.to_diff_dict())) == expected
    assert json.loads(ours.to_json_string()) == expected
    assert json.loads(ours.to_json_string(use_diff=False)) == ours.to_dict()

    ours.to_json_file(tmp_path / "ours.json")
    assert transformers.DacConfig.from_json_file(tmp_path / "ours.json").to_dict() == theirs.to_dict()
    theirs.to_json_file(tmp_path / "theirs.json")
    assert dacodec.DacConfig.from_json_file(tmp_path / "theirs.json") == ours
    theirs.to_json_file(tmp_path / "theirs.json", use_diff=False)
    old = transformers.__version__ < "5"  # also writes generation settings
    with pytest.warns(UserWarning, match="unknown keys") if old else nullcontext():
        assert dacodec.DacConfig.from_json_file(tmp_path / "theirs.json") == ours


def test_numbers_of_parameters(models):
    ours, theirs = models
    for model in models:
        model.encoder.requires_grad_(False)
    for keywords in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
        assert ours.num_parameters(**keywords) == theirs.num_parameters(**keywords)
    assert ours.main_input_name == theirs.main_input_name


@pytest.mark.parametrize("keywords", [None, {"use_reentrant": True}, {"use_reentrant": False}])
def test_gradient_checkpointing(models, keywords):
    model = models[0].train()
    calls = []
    model.encoder.block[0].res_unit1.conv1.register_forward_hook(lambda *_: calls.append(1))

    def gradients():
        calls.clear()
        model.zero_grad()
        output = model(audio(2))
        (output.audio_values.pow(2).mean() + output.loss.mean()).backward()
        return [p.grad.clone() for p in model.parameters()]

    expected = gradients()
    assert len(calls) == 1
    model.gradient_checkpointing_enable(keywords)
    assert model.is_gradient_checkpointing
    for grad, right in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(grad, right)
    assert len(calls) == 2
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    gradients()
    assert len(calls) == 1
