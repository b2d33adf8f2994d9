"""Each item of a padded batch gives the same codes and audio as alone."""

import pytest
import torch
from codes import assert_same_codes
from weights import random_audio, random_weights

from dacodec.config import DacConfig
from dacodec.geometry import Geometry, Layer
from dacodec.model import DacModel, dac, layers

SHAPES = {
    "44khz": dict(downsampling_ratios=(2, 4, 8, 8), sampling_rate=44100),
    "16khz": dict(downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000),
    "odd": dict(downsampling_ratios=(3, 5)),
    "five": dict(downsampling_ratios=(2, 1, 3, 2, 2), hidden_size=24),
}


def make_model(name, dtype=torch.float64):
    config = DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=64, n_codebooks=3, codebook_size=64, **SHAPES[name]
    )
    model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed=3))
    return model.to(dtype).eval()


def padded_batch(model):
    """A batch of recordings of odd lengths padded to the longest, its mask, and each alone."""
    hop = model.config.hop_length
    lengths = [7 * hop, 23 * hop - hop // 2, 30 * hop, hop - 1]
    whole = random_audio(5, len(lengths), max(lengths)).to(model.dtype)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    batch = whole + 0.3  # garbage in the padding: the mask must keep it out
    alone = []
    for i, n in enumerate(lengths):
        batch[i, :, :n] = whole[i, :, :n]
        padded = torch.zeros(1, 1, -(-n // hop) * hop, dtype=model.dtype)
        # An item extends to the next multiple of the hop, so the samples up to there belong to it.
        padded[0, :, : batch.shape[-1]] = batch[i : i + 1, :, : padded.shape[-1]]
        alone.append(padded)
    return batch, mask, alone


def differences(model):
    """For each item: whether the codes differ, and by how much the audio does."""
    batch, mask, alone = padded_batch(model)
    with torch.no_grad():
        together = model(batch, padding_mask=mask)
        for i, audio in enumerate(alone):
            single = model(audio)
            frames = single.audio_codes.shape[-1]
            samples = min(single.audio_values.shape[-1], together.audio_values.shape[-1])
            assert together.audio_codes_mask[i].sum() == frames
            yield (
                not torch.equal(together.audio_codes[i, :, :frames], single.audio_codes[0]),
                (together.audio_values[i, :samples] - single.audio_values[0, :samples]).abs().max().item(),
                together.audio_values[i, samples:].abs().max().item()
                if samples < together.audio_values.shape[-1]
                else 0.0,
            )


@pytest.mark.parametrize("name", SHAPES)
def test_items_of_a_padded_batch_are_those_alone(name):
    for codes_differ, error, beyond in differences(make_model(name)):
        assert not codes_differ
        assert error < 1e-10
        assert beyond == 0


@pytest.mark.parametrize("name", SHAPES)
def test_and_in_float32_by_the_definition_of_same_codes(name):
    model = make_model(name, torch.float32)
    batch, mask, alone = padded_batch(model)
    with torch.no_grad():
        together = model.encode(batch, padding_mask=mask)
        for i, audio in enumerate(alone):
            single = model.encode(audio)
            frames = single.audio_codes.shape[-1]
            assert_same_codes(
                together.audio_codes[i : i + 1, :, :frames],
                single.audio_codes,
                model.encoder(*model._check_audio(batch, mask))[i : i + 1, :, :frames],
                model.encoder(audio),
                model.quantizer.state_dict(prefix="quantizer."),
            )


MUTATIONS = {
    "mask removed": (layers, "mask", lambda x, lengths: x),
    "length off by one": (
        Layer,
        "output_length",
        lambda self, n, f=Layer.output_length: f(self, n) + (0 if isinstance(n, int) else 1),
    ),
    "mask one late": (
        layers,
        "mask",
        lambda x, lengths, f=layers.mask: f(x, None if lengths is None else lengths + 1),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_test_sees(mutation, monkeypatch):
    model = make_model("44khz")
    owner, name, broken = MUTATIONS[mutation]
    monkeypatch.setattr(owner, name, broken)
    if name == "mask":
        monkeypatch.setattr(dac, "mask", broken)
    try:
        seen = any(c or e > 1e-10 or b for c, e, b in differences(model))
    except AssertionError:  # the codes' mask has another length
        seen = True
    assert seen


def test_mask_must_pad_on_the_right():
    model = make_model("odd")
    with pytest.raises(ValueError, match="right"):
        model(torch.zeros(1, 1, 45, dtype=torch.float64), padding_mask=torch.tensor([[0] * 15 + [1] * 30]))
    with pytest.raises(ValueError, match="padding_mask must be"):
        model(torch.zeros(1, 1, 45, dtype=torch.float64), padding_mask=torch.ones(1, 44))


def test_geometry_agrees_with_the_model():
    for name in SHAPES:
        model = make_model(name)
        geometry = Geometry(model.config)
        hop = model.config.hop_length
        for n in (hop, hop + 1, 2 * hop - 1, 13 * hop, 13 * hop + hop // 2):
            latents = model.encoder(torch.zeros(1, 1, n, dtype=torch.float64))
            assert latents.shape[-1] == geometry.frames(n)
            assert model.decoder(latents).shape[-1] == geometry.samples(latents.shape[-1])
