"""Tiny models for the tests of the transformers integration."""

import torch
import transformers
from models import save_model
from weights import random_audio

from dacodec.integrations.transformers import DacModel

SHAPE = dict(
    encoder_hidden_size=4,
    decoder_hidden_size=16,
    downsampling_ratios=(2, 3),
    n_codebooks=3,
    codebook_size=16,
    codebook_dim=4,
    sampling_rate=24000,
)
HOP = 6


def save_small(folder, **changes):
    """A folder with a small model of random weights."""
    return save_model(folder, **(SHAPE | changes))


def load_both(folder, **changes):
    """Our model and transformers' own with the same weights."""
    save_small(folder, **changes)
    return DacModel.from_pretrained(folder), transformers.DacModel.from_pretrained(
        folder, dtype=torch.float32
    )


def audio(batch=1, frames=10, seed=2):
    return random_audio(seed, batch=batch, length=frames * HOP)
