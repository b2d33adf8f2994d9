"""A model of the real descript-audio-codec, saved as it saves models, and loaded here.

PYTHONPATH=src:tests:tests/parity:tests/checkpoint .venv-descript/bin/python -m pytest --noconftest \
    tests/checkpoint/live_descript_weights.py
"""

import descript
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize, remove_weight_norm
from weights import random_audio

from dacodec import DacModel
from dacodec.checkpoint import import_weights, load_model

CASES = {
    "44 kHz": {"downsampling_ratios": [2, 4, 8, 8], "n_codebooks": 9, "sampling_rate": 44100},
    "16 kHz": {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12, "sampling_rate": 16000},
    "latent_dim": {
        "downsampling_ratios": [2, 4, 8, 8],
        "n_codebooks": 18,
        "sampling_rate": 44100,
        "hidden_size": 12,
    },
    "three strides": {"downsampling_ratios": [3, 2, 5], "n_codebooks": 2, "sampling_rate": 8000},
}
NARROW = {"encoder_hidden_size": 3, "decoder_hidden_size": 32, "codebook_size": 64, "codebook_dim": 8}


def layers(model):
    return [m for m in model.modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))]


def in_form(model, form):
    """The model with weight normalisation as the package makes it, as newer torch does, or without."""
    for layer in layers(model):
        if form != "hook":
            remove_weight_norm(layer)
        if form == "parametrization":
            parametrizations.weight_norm(layer)
            assert parametrize.is_parametrized(layer)
    return model


@pytest.mark.parametrize("form", ["hook", "parametrization", "folded"])
@pytest.mark.parametrize("name", CASES)
def test_loaded_and_imported(tmp_path, name, form):
    config = {**NARROW, **CASES[name]}
    model = in_form(descript.build({"config": config, "seed": 1}), form)
    kwargs = {k: v for k, v in descript.dac_arguments(config).items() if v is not None}
    torch.save({"state_dict": model.state_dict(), "metadata": {"kwargs": kwargs}}, tmp_path / "weights.pth")

    ours = DacModel.from_pretrained(tmp_path / "weights.pth")
    audio = random_audio(2, batch=2, length=8000)
    audio = audio[..., : 8000 // ours.config.hop_length * ours.config.hop_length]
    with torch.no_grad():
        z, codes, _, _, _ = model.encode(audio)
        expected = model.decode(z)[:, 0]
        output = ours.encode(audio)
        values = ours.decode(output.quantized_representation).audio_values
    assert torch.equal(output.audio_codes, codes)
    error = (values - expected).abs().max().item()
    print(f"{name}, {form}: {error:.1e}")
    assert error < 1e-5

    import_weights(tmp_path / "weights.pth", tmp_path / "model")
    assert load_model(tmp_path / "model").fingerprint == load_model(tmp_path / "weights.pth").fingerprint
