"""Random weights and audio for tests: always the same numbers, and a model that behaves like a trained one.

Parity with other packages means little if the signal dies out or saturates. So these weights keep activations near 1
through any number of blocks, do not saturate the tanh, use many codes, and make the residual shrink from codebook to
codebook.

Only ``random_sample``, ``randint`` and ``choice`` of ``np.random.RandomState`` (whose streams NumPy froze)
and exactly rounded operations (+ - * / sqrt) are used, so every machine and version gives the same bits.
Depends on numpy and torch.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

# Mean square of Snake(x) for x ~ N(0, 1) over the alphas below, which the next convolution must undo.
SNAKE_GAIN = 1.3
# Variance that a residual unit adds to its input: small, so that three in a row stay near 1.
RESIDUAL_VARIANCE = 0.1
# rms before the decoder's tanh: loud audio that does not saturate.
OUTPUT_RMS = 0.2
# rms of the audio of `random_audio`.
AUDIO_RMS = 0.2


def random_weights(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights for the tensors of a DAC model, float32.

    Args:
        shapes: shape of each tensor under its key in Hugging Face's state dict.
        seed: a tensor depends on it, on its own key and shape, and on the quantizer's shape.

    Raises:
        ValueError: for a key that no DAC model has.
    """
    quantizer = _quantizer_shape(shapes)
    weights = {}
    for key, shape in shapes.items():
        shape = tuple(shape)
        if key.startswith("quantizer."):
            values = _quantizer_tensor(key, shape, quantizer, seed)
        elif key.endswith(".alpha"):
            values = _alphas(key, shape, seed)
        elif key.endswith(".bias"):
            values = 0.1 * _gain(key) * _uniform(key, shape, seed)
        elif key.endswith(".weight"):
            values = _gain(key) * math.sqrt(1 / _fan_in(key, shape)) * _uniform(key, shape, seed)
            if key == "decoder.conv1.weight":
                # The quantizer's output has only a few of the latents' directions.
                values *= math.sqrt(quantizer.hidden_size / quantizer.n_directions)
        else:
            raise ValueError(f"not a parameter of a DAC model: {key}")
        weights[key] = torch.from_numpy(values.astype(np.float32))
    return weights


def random_audio(seed: int, batch: int, length: int) -> torch.Tensor:
    """Audio of shape [batch, 1, length], float32: gliding tones of changing loudness and some noise."""
    audio = np.empty((batch, 1, length), np.float32)
    time = np.arange(length)
    for item in range(batch):
        random = np.random.RandomState(_seed("audio", seed + item))
        signal = 0.3 * (2 * random.random_sample(length) - 1)
        for _ in range(6):
            period, phase, glide, beat, beat_phase = random.random_sample(5)
            # In samples: periods from 6 to 400, gliding by up to a tenth in 4000 samples.
            frequency = 1 / (6 + 394 * period * period)
            glide = frequency * (0.2 * glide - 0.1) / 4000
            tone = _wave(phase + time * (frequency + glide / 2 * (time % 4000)))
            signal += tone * (1 + _wave(beat_phase + time / (500 + 4500 * beat)))
        # fsum because its result, unlike that of np.sum, is defined to the last bit.
        audio[item, 0] = AUDIO_RMS / math.sqrt(math.fsum(signal * signal) / length) * signal
    return torch.from_numpy(audio)


@dataclass(frozen=True)
class _QuantizerShape:
    n_codebooks: int
    codebook_dim: int
    hidden_size: int

    @property
    def n_directions(self) -> int:
        """Each direction is coded about four times, which leaves roughly a quarter of its rms."""
        return min(max(self.codebook_dim, 2 * self.n_codebooks), self.hidden_size)


def _quantizer_shape(shapes):
    n_codebooks = sum(key.startswith("quantizer.") and key.endswith(".in_proj.weight") for key in shapes)
    codebook_dim, hidden_size = shapes["quantizer.quantizers.0.in_proj.weight"][:2]
    return _QuantizerShape(n_codebooks, codebook_dim, hidden_size)


def _quantizer_tensor(key, shape, quantizer, seed):
    """One tensor of ``quantizer.quantizers.<index>``.

    All codebooks project the latents onto the same few nearly orthogonal directions, each with a different choice
    (row i of in_proj is a direction or its negative), and out_proj is roughly the inverse of in_proj. So a codebook
    removes some of what the next ones see, as in a trained model.
    """
    index, name = key.removeprefix("quantizer.quantizers.").split(".", 1)
    hidden_size, codebook_dim = quantizer.hidden_size, quantizer.codebook_dim
    remaining = 1 / (1 + 3 * int(index) / quantizer.n_codebooks)

    if name in ("in_proj.weight", "out_proj.weight"):
        n_directions = quantizer.n_directions
        directions = _uniform("quantizer", (n_directions, hidden_size), seed) / math.sqrt(hidden_size)
        random = np.random.RandomState(_seed(f"quantizer.quantizers.{index}", seed))
        # A codebook wider than the latents must use some direction twice.
        chosen = random.choice(n_directions, codebook_dim, replace=codebook_dim > n_directions)
        signs = random.randint(0, 2, codebook_dim) * 2 - 1
        in_proj = directions[chosen] * signs[:, None]
        if name == "in_proj.weight":
            return in_proj.reshape(shape)
        # Random directions overlap in a narrow model; undoing all of each would overshoot.
        return in_proj.T.reshape(shape) / (1 + math.sqrt(codebook_dim / hidden_size))
    if name == "in_proj.bias":
        return 0.05 * remaining * _uniform(key, shape, seed)
    if name == "out_proj.bias":
        return 0.02 * _uniform(key, shape, seed)
    if name == "codebook.weight":
        return 0.85 * remaining * _uniform(key, shape, seed)
    raise ValueError(f"not a parameter of a DAC model: {key}")


def _alphas(key, shape, seed):
    """Positive, median 1, from 0.2 to 5; a is as likely as 1/a."""
    above, below = np.random.RandomState(_seed(key, seed)).random_sample((2, *shape))
    return (0.25 + above) / (0.25 + below)


def _fan_in(key, shape):
    if "conv_t" in key:
        # [in, out, 2 * stride]: every output sample is reached by two of the taps.
        return 2 * shape[0]
    return math.prod(shape[1:])


def _gain(key):
    """Factor on a convolution's 1/sqrt(fan in), so that its output has a mean square near 1."""
    if key.startswith("encoder.conv1."):
        return 1 / AUDIO_RMS
    if key.startswith("decoder.conv1."):
        return 1.0
    after_units = math.sqrt(1 / (SNAKE_GAIN * (1 + 3 * RESIDUAL_VARIANCE)))
    if key.startswith("decoder.conv2."):
        return OUTPUT_RMS * after_units
    if ".res_unit" in key:
        return math.sqrt((RESIDUAL_VARIANCE if ".conv2." in key else 1) / SNAKE_GAIN)
    return after_units


def _uniform(key, shape, seed):
    """Uniform numbers of mean 0 and variance 1."""
    return math.sqrt(3) * (2 * np.random.RandomState(_seed(key, seed)).random_sample(shape) - 1)


def _seed(key, seed):
    return [seed, zlib.crc32(key.encode())]


def _wave(phase):
    """A sine-like wave of period 1 and height 1, from parabolas: unlike np.sin, the same bits everywhere."""
    phase = phase - np.floor(phase)
    half = 2 * phase - np.floor(2 * phase)
    return np.where(phase < 0.5, 4, -4) * half * (1 - half)
