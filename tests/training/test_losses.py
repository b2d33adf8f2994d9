"""Losses and discriminators against the original's values on fixed signals (scripts/oracles/make_training.py)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_signals import DISCRIMINATOR, discriminator_weights, signals

from dacodec.config import DacConfig
from dacodec.errors import CheckpointError, ConfigError
from dacodec.model import DacModel
from dacodec.spectra import MEL_FLOOR, MEL_SCALES, mel_distance, mel_spectrum, stft_distance
from dacodec.training.discriminators import Discriminator, DiscriminatorConfig
from dacodec.training.losses import (
    LossWeights,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
    mel_losses,
    quantizer_losses,
    wave_loss,
)
from dacodec.training.weight_norm import add_weight_norm, folded_state, load_folded

HERE = Path(__file__).parent
ORIGINAL = json.loads((HERE / "original.json").read_text())
TENSORS = load_file(HERE / "original.safetensors")
RATE = 44100


@pytest.fixture(scope="module")
def discriminator():
    network = Discriminator(DiscriminatorConfig(**DISCRIMINATOR))
    weights = discriminator_weights({n: p.shape for n, p in network.state_dict().items()})
    add_weight_norm(network)
    load_folded(network, weights)
    return network


def test_mel_and_stft_distance():
    real, fake = signals()
    fake.requires_grad_()
    mel = mel_distance(fake, real, RATE)
    assert mel.item() == pytest.approx(ORIGINAL["mel"], rel=1e-5)
    assert stft_distance(fake, real).item() == pytest.approx(ORIGINAL["stft"], rel=1e-5)
    (gradient,) = torch.autograd.grad(mel, fake)
    expected = TENSORS["mel_gradient"]
    assert (gradient - expected).norm() < 1e-3 * expected.norm()


def test_a_distance_asked_for_in_inference_first_can_be_trained_on_later():
    with torch.inference_mode():
        mel_distance(torch.rand(1, 900), torch.rand(1, 900), 12345)
    audio = torch.rand(1, 900, requires_grad=True)
    mel_distance(audio, torch.rand(1, 900), 12345).backward()
    assert audio.grad.abs().sum() > 0


def test_every_layer_of_the_discriminators(discriminator):
    real, _ = signals()
    with torch.no_grad():
        outputs = discriminator(discriminator.views(real))
    assert [len(part) for part in outputs] == [len(part) for part in ORIGINAL["maps"]]
    for i, (part, expected) in enumerate(zip(outputs, ORIGINAL["maps"], strict=True)):
        for j, (x, known) in enumerate(zip(part, expected, strict=True)):
            assert list(x.shape) == known["shape"]
            assert x.square().mean().sqrt().item() == pytest.approx(known["rms"], rel=1e-4)
            sample = x.flatten()[:: max(1, x.numel() // 50)][:50]
            torch.testing.assert_close(sample, TENSORS[f"map_{i}_{j}"], rtol=1e-3, atol=1e-4 * known["rms"])


def test_adversarial_losses_and_their_gradient(discriminator):
    real, fake = signals()
    fake.requires_grad_()
    on_real, on_fake = (discriminator(discriminator.views(x)) for x in (real, fake))
    assert discriminator_loss(on_real, on_fake).item() == pytest.approx(ORIGINAL["discriminator"], rel=1e-4)
    adversarial, feature = adversarial_loss(on_fake), feature_loss(on_real, on_fake)
    assert adversarial.item() == pytest.approx(ORIGINAL["adversarial"], rel=1e-4)
    assert feature.item() == pytest.approx(ORIGINAL["feature"], rel=1e-4)
    (gradient,) = torch.autograd.grad(adversarial + 2 * feature, fake)
    expected = TENSORS["gan_gradient"]
    assert (gradient - expected).norm() < 1e-3 * expected.norm()


def test_quantizer_losses_count_each_items_own_codebooks():
    model = DacModel(DacConfig(4, (2, 4), 16, n_codebooks=3, codebook_size=16, codebook_dim=2))
    latents = torch.randn(2, model.config.hidden_size, 9)
    both = quantizer_losses(model.quantizer(latents, torch.tensor([1, 3])))
    first = quantizer_losses(model.quantizer(latents[:1], 1))
    second = quantizer_losses(model.quantizer(latents[1:], 3))
    for name in ("commitment", "codebook"):
        assert both[name].item() == pytest.approx((first[name] + second[name]).item() / 2, rel=1e-5)


def test_loud_mel_is_the_mel_distance_weighted_bin_by_bin():
    real, fake = signals()
    real, fake = real[:, 0].double(), fake[:, 0].double()
    losses = mel_losses(fake, real, 16000)
    assert losses["mel"].item() == pytest.approx(mel_distance(fake, real, 16000).item(), rel=1e-9)
    expected = 0.0
    for window, n_mels in MEL_SCALES:
        for a, b in zip(fake, real, strict=True):
            given, wanted = (mel_spectrum(x, 16000, window, n_mels).clamp(MEL_FLOOR) for x in (a, b))
            weight = wanted.sqrt() / wanted.sqrt().mean()
            expected += ((given / wanted).log10().abs() * weight).mean().item() / 2
    assert losses["loud"].item() == pytest.approx(expected, rel=1e-9)


def test_the_wave_loss_is_relative_and_knows_the_phase():
    real, fake = (x[:, 0].double() for x in signals())
    expected = 0.0
    for a, b in zip(fake, real, strict=True):
        parts = [(a - b).abs().mean() / b.abs().mean()]
        for window in (2048, 512):
            hann = torch.hann_window(window, dtype=torch.float64)
            frames = [torch.fft.rfft(x.unfold(0, window, window // 4) * hann) for x in (a, b)]
            parts.append((frames[0] - frames[1]).abs().mean() / frames[1].abs().mean())
        expected += sum(parts).item() / 3 / 2
    assert wave_loss(fake, real).item() == pytest.approx(expected, rel=1e-5)
    assert wave_loss(3 * fake, 3 * real).item() == pytest.approx(expected, rel=1e-5)
    assert wave_loss(-real, real).item() == pytest.approx(2, rel=1e-5)  # which the mel distance ignores
    same = real.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(wave_loss(same, real), same)
    assert gradient.isfinite().all()


def test_a_total_is_weighted_by_name():
    losses = {"mel": torch.tensor(2.0), "feature": torch.tensor(3.0), "codebook": torch.tensor(5.0)}
    assert LossWeights().total(losses).item() == 15 * 2 + 2 * 3 + 5
    with pytest.raises(ConfigError, match="mle"):
        LossWeights().total({"mle": torch.tensor(1.0)})


def test_weights_survive_normalisation(discriminator):
    network = Discriminator(DiscriminatorConfig(periods=(2,), fft_sizes=(512,), width=0.1))
    plain = {name: x.clone() for name, x in network.state_dict().items()}
    add_weight_norm(network)
    assert len(network.state_dict()) > len(plain)
    load_folded(network, {name: 2 * x for name, x in plain.items()})
    for name, x in folded_state(network).items():
        torch.testing.assert_close(x, 2 * plain[name])
    with pytest.raises(CheckpointError, match="conv_post"):
        load_folded(network, {n: x for n, x in plain.items() if "conv_post.weight" not in n})
    with pytest.raises(CheckpointError, match=r"convs\.0"):
        load_folded(discriminator, plain)


@pytest.mark.parametrize(
    "wrong",
    [{"periods": (), "fft_sizes": ()}, {"fft_sizes": (30,)}, {"band_edges": (0.5, 0.1)}, {"width": 0}],
)
def test_impossible_discriminators(wrong):
    with pytest.raises(ConfigError):
        DiscriminatorConfig(**wrong)
