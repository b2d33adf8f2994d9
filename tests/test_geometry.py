"""Receptive fields and look-ahead against the model itself, and against known figures of the released models."""

import math

import pytest
import torch
from weights import random_weights

from dacodec.config import DacConfig
from dacodec.geometry import Geometry
from dacodec.model import DacModel

RELEASED = {
    # name: (ratios, rate, halo to encode, halo to decode, look-ahead to encode and to decode in ms, samples lost)
    "44khz": ((2, 4, 8, 8), 44100, 8, 10, 84.6, 116.1, 0),
    "24khz": ((2, 4, 5, 8), 24000, 8, 10, 103.9, 133.3, 8),
    "16khz": ((2, 4, 5, 8), 16000, 8, 10, 155.8, 200.0, 8),
}


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_models(name):
    ratios, rate, encode, decode, encode_ms, decode_ms, lost = RELEASED[name]
    g = Geometry(DacConfig(downsampling_ratios=ratios, sampling_rate=rate))
    assert (g.encoder_halo, g.decoder_halo) == (encode, decode)
    assert g.encoder_lookahead / rate * 1000 == pytest.approx(encode_ms, abs=0.1)
    assert g.decoder_lookahead * g.config.hop_length / rate * 1000 == pytest.approx(decode_ms, abs=0.1)
    assert g.samples(10) == 10 * g.config.hop_length - lost


SHAPES = [(2, 4, 8, 8), (2, 4, 5, 8), (3, 5), (2, 3, 5, 7), (4,), (1, 2, 1, 3, 2)]


@pytest.mark.parametrize("ratios", SHAPES)
def test_receptive_fields_are_the_models(ratios):
    """The gradient of one output reaches exactly the inputs that geometry states."""
    config = DacConfig(
        encoder_hidden_size=2,
        decoder_hidden_size=2 * 2 ** len(ratios),
        downsampling_ratios=ratios,
        n_codebooks=1,
        codebook_size=2,
        hidden_size=4,
    )
    g = Geometry(config)
    model = DacModel(config).double()
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.double() for k, v in random_weights(shapes, 2).items()})
    hop = config.hop_length

    n_frames = 2 * g.encoder_halo + 5
    audio = torch.randn(1, 1, n_frames * hop, dtype=torch.float64, requires_grad=True)
    frame = g.encoder_halo + 2
    model.encoder(audio)[0, :, frame].sum().backward()
    touched = audio.grad[0, 0].nonzero()[:, 0]
    first, last = g.encoder_span
    assert (touched.min() - frame * hop, touched.max() - frame * hop) == (first, last)
    assert g.encoder_lookahead == max(0, last - hop + 1)

    n_frames = 2 * g.decoder_halo + 5
    latents = torch.randn(1, 4, n_frames, dtype=torch.float64, requires_grad=True)
    frame = g.decoder_halo + 2
    model.decoder(latents)[0, 0, frame * hop : (frame + 1) * hop].sum().backward()
    touched = latents.grad[0].abs().sum(0).nonzero()[:, 0]
    first, last = g.decoder_span
    assert (touched.min() - frame, touched.max() - frame) == (first, last)


@pytest.mark.parametrize("ratios", SHAPES)
def test_needed_lengths_are_the_smallest(ratios):
    g = Geometry(DacConfig(downsampling_ratios=ratios, decoder_hidden_size=64))
    hop = math.prod(ratios)
    for n in (1, hop - 1 or 1, hop, hop + 1, 7 * hop, 7 * hop + 1):
        frames = g.frames_needed(n)
        assert g.samples(frames) >= n
        assert frames == 1 or g.samples(frames - 1) < n
        samples = g.samples_needed(frames)
        assert samples % hop == 0
        assert g.frames(samples) == frames
    assert g.frames(0) == g.samples(0) == 0
