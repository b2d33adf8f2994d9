"""Fixed signals and weights, used for the original and for ours. See scripts/oracles/make_training.py."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from weights import random_audio

SAMPLES = 4400  # not a whole number of hops of any window, but of the periods 2, 5 and 11
DISCRIMINATOR = {
    "periods": (2, 7, 11),
    "fft_sizes": (2048, 512),
    "band_edges": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
}


def signals():
    """A signal and a changed one, both [2, 1, SAMPLES]; the second item ends in silence."""
    real = random_audio(11, 2, SAMPLES)
    fake = 0.7 * real + 0.3 * random_audio(21, 2, SAMPLES) + 0.01
    real[1, :, 3000:] = 0
    return real, fake


def discriminator_weights(shapes):
    """Weights by name, of about unit gain, and small biases."""
    weights = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode())).random_sample(tuple(shape))
        scale = 0.1 if len(shape) == 1 else math.sqrt(3 * 1.9 / math.prod(shape[1:]))
        weights[name] = torch.from_numpy((scale * (2 * random - 1)).astype(np.float32))
    return weights
