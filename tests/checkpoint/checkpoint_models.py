"""A small model for the tests of checkpoints, and its folder in Hugging Face's layout."""

import copy
import functools
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from weights import random_audio, random_weights

from dacodec import DacConfig, DacModel

DATA = Path(__file__).parent / "data"
HOP = 6
AUDIO = random_audio(2, batch=1, length=10 * HOP)


def small_config(**changes):
    fields = {
        "encoder_hidden_size": 2,
        "downsampling_ratios": (2, 3),
        "decoder_hidden_size": 4,
        "n_codebooks": 3,
        "codebook_size": 16,
        "codebook_dim": 2,
        "sampling_rate": 24000,
    }
    return DacConfig(**(fields | changes))


def small_model(seed=1, **changes):
    return copy.deepcopy(_small_model(small_config(**changes), seed))


@functools.cache
def _small_model(config, seed):
    model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed))
    return model.eval()


def assert_same_model(model, other):
    """The same outputs, to the last bit."""
    with torch.no_grad():
        ours, theirs = model(AUDIO.to(model.dtype)), other(AUDIO.to(other.dtype))
    assert torch.equal(ours.audio_codes, theirs.audio_codes)
    assert torch.equal(ours.audio_values, theirs.audio_values)


def change_json(path, **changes):
    """Set values in a JSON file; None removes a key."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def change_tensors(path, change):
    """Replace the tensors in a safetensors file by the result of ``change``."""
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    save_file(change(tensors), path)
