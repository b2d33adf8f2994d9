"""Codebook health."""

import math

import pytest
import torch
import torch.nn.functional as F

from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.training.codebooks import RESERVOIR, CodebookHealth, initialise_codebooks
from dacodec.training.weight_norm import add_weight_norm

CONFIG = DacConfig(4, (2, 4), 16, n_codebooks=3, codebook_size=32, codebook_dim=4)


def model_and_latents(seed=0, batch=8, frames=50):
    torch.manual_seed(seed)
    model = DacModel(CONFIG)
    mixing = torch.randn(CONFIG.hidden_size, CONFIG.hidden_size)
    latents = torch.einsum("dk,bkf->bdf", mixing, torch.randn(batch, CONFIG.hidden_size, frames)) + 3
    return model, latents


def test_usage_and_entropy():
    model, latents = model_and_latents()
    health = CodebookHealth(CONFIG, torch.device("cpu"))
    quantized = [model.quantizer(part) for part in latents.split(2)]
    for q in quantized:
        health.observe(q)
    codes = torch.cat([q.audio_codes for q in quantized])
    usage = health.usage()
    entropies = []
    for k in range(3):
        _, counts = codes[:, k].unique(return_counts=True)
        share = counts / counts.sum()
        entropies.append(-(share * share.log2()).sum().item())
        assert health.counts[k].sum() == codes[:, k].numel()
    assert usage.entropy_bits == pytest.approx(entropies, abs=2e-3)
    assert usage.efficiency == pytest.approx(sum(entropies) / 15, abs=1e-3)
    used = sum(len(codes[:, k].unique()) for k in range(3))
    assert usage.used_share == pytest.approx(used / 96)


def test_the_reservoir_keeps_recent_latents():
    model, latents = model_and_latents()
    health = CodebookHealth(CONFIG, torch.device("cpu"))
    with torch.no_grad():
        quantized = model.quantizer(latents)
    for _ in range(math.ceil(RESERVOIR / 100) + 1):
        health.observe(quantized)
    everything = quantized.projected_latents.reshape(8, 3, 4, 50).permute(1, 0, 3, 2).reshape(3, -1, 4)
    for kept, known in zip(health.latents, everything, strict=True):
        assert (kept[:, None] == known).all(2).any(1).all()
        assert len(kept.unique(dim=0)) >= 100


def test_revived_codes_are_recent_directions_of_the_usual_length_and_few():
    model, latents = model_and_latents()
    health = CodebookHealth(CONFIG, torch.device("cpu"))
    quantized = model.quantizer(100 * latents)  # far longer than the codes
    health.observe(quantized)
    before = [q.codebook.weight.detach().clone() for q in model.quantizer.quantizers]
    revived = health.revive(model, at_once=4, seed=1)
    for k, (old, rows) in enumerate(zip(before, revived, strict=True)):
        new = model.quantizer.quantizers[k].codebook.weight.detach()
        dead = health.counts[k] == 0
        assert len(rows) == min(4, dead.sum())
        assert dead[rows].all()
        untouched = torch.ones(32, dtype=torch.bool)
        untouched[rows] = False
        assert torch.equal(new[untouched], old[untouched])
        usual = old[~dead].norm(dim=1).median()
        torch.testing.assert_close(new[rows].norm(dim=1), usual.expand(len(rows)))
        kept = F.normalize(health.latents[k, : health.n_kept], dim=1)
        assert (F.normalize(new[rows], dim=1) @ kept.t()).max(1).values.min() > 0.9999
    assert sum(map(len, revived)) > 0


@pytest.mark.parametrize("normalised", [False, True])
def test_a_start_from_the_data_codes_it_well_and_better_with_every_codebook(normalised):
    model, latents = model_and_latents()
    if normalised:
        add_weight_norm(model)
    at_random = (model.quantizer(latents).quantized_representation - latents).square().mean()
    initialise_codebooks(model, latents, seed=0)
    errors = [
        (
            (model.quantizer(latents, k).quantized_representation - latents).square().mean() / latents.var()
        ).item()
        for k in (1, 2, 3)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5
    assert errors[-1] * latents.var() < 0.2 * at_random
    for quantizer in model.quantizer.quantizers:  # a gain would make the losses diverge when the latents grow
        weight = quantizer.in_proj.weight[:, :, 0]
        torch.testing.assert_close(weight @ weight.t(), torch.eye(len(weight)), atol=1e-5, rtol=0)


def test_a_start_from_the_data_tells_large_latents_from_small_ones():
    """Loud and quiet latents differ in size, which a search by direction sees only if they are away from the origin."""
    model, _ = model_and_latents()
    random = torch.Generator().manual_seed(2)
    direction = torch.randn(1, model.config.hidden_size, 1, generator=random)
    size = torch.exp(torch.randn(8, 1, 50, generator=random))
    latents = direction * size
    initialise_codebooks(model, latents, seed=0)
    coded = model.quantizer(latents, 1).quantized_representation
    assert (coded - latents).square().mean() < 0.05 * latents.var()


def test_a_start_with_fewer_latents_than_codes():
    model, latents = model_and_latents(batch=1, frames=7)
    initialise_codebooks(model, latents, seed=0)
    assert all(q.codebook.weight.isfinite().all() for q in model.quantizer.quantizers)
