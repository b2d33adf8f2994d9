"""Extra gradients at the latents, and clipping at the usual norm, against plain numbers."""

import math

import pytest
import torch

from dacodec.training.latents import pulled
from dacodec.training.usual import MEMORY, OUTLIER, UsualNorm


def some(seed, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(4, 6, 10, generator=random, dtype=torch.float64)


def test_both_pulls_have_their_share_of_the_gradients_norm():
    gradient, latents, coded = some(1, 1e-3), some(2, 2.0), some(3)
    whole = torch.tensor([True, False, True, True])
    result, report = pulled(gradient, latents, coded, whole, commitment=0.15, variance=0.1)
    error = (latents - coded) * whole[:, None, None]
    power = latents.square().mean()
    expected = gradient + 0.15 * gradient.norm() * error / error.norm()
    expected += 0.1 * math.tanh(2 * math.log(power)) * gradient.norm() * latents / latents.norm()
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=0)
    assert report["latents"].item() == pytest.approx(power.sqrt().item())
    assert report["error"].item() == pytest.approx(
        (latents - coded)[whole].square().mean().item() / power.item()
    )
    alone, report = pulled(gradient, latents, None, whole, commitment=0.15, variance=0.0)
    assert torch.equal(alone, gradient)
    assert set(report) == {"latents"}


@pytest.mark.parametrize(("scale", "sign"), [(3.0, 1), (0.2, -1)])
def test_latents_are_pulled_to_variance_1_from_both_sides(scale, sign):
    gradient, latents = torch.zeros_like(some(1)) + 1e-3, some(2, scale)
    result, _ = pulled(gradient, latents, None, torch.ones(4, dtype=torch.bool), 0.0, 0.1)
    assert sign * ((result - gradient) * latents).sum() > 0  # descending makes them smaller, or larger
    same, _ = pulled(gradient, latents / latents.square().mean().sqrt(), None, torch.ones(4) > 0, 0.0, 0.1)
    torch.testing.assert_close(same, gradient)


def test_parts_in_processes_are_the_batch():
    gradient, latents, coded = some(1), some(2, 2.0), some(3)
    whole = torch.tensor([True, False, True, True])
    batch, report = pulled(gradient, latents, coded, whole, 0.15, 0.1)
    kept = []
    pulled(gradient[:2], latents[:2], coded[:2], whole[:2], 0.15, 0.1, lambda x: kept.append(x) or x)
    part, its = pulled(
        gradient[2:], latents[2:], coded[2:], whole[2:], 0.15, 0.1, lambda x: (x + kept[0]) / 2
    )
    torch.testing.assert_close(part, batch[2:])
    assert its["error"].item() == pytest.approx(report["error"].item())


def test_gradients_are_clipped_at_a_multiple_of_their_usual_norm():
    usual = UsualNorm(torch.device("cpu"), times=2.0)
    known = None
    for i, scale in enumerate((1.0, 1.2, 50.0, 0.9)):
        gradients = [scale * some(i).float(), scale * some(i + 10).float()[0]]
        before = torch.cat([g.flatten() for g in gradients])
        norm, finite = usual.clip(gradients)
        after = torch.cat([g.flatten() for g in gradients])
        assert finite
        assert norm.item() == pytest.approx(before.norm().item(), rel=1e-5)
        bound = norm.item() if known is None else 2 * known
        torch.testing.assert_close(after, before * min(1.0, bound / norm.item()), rtol=1e-5, atol=0)
        seen = min(norm.item(), OUTLIER * bound)
        known = norm.item() if known is None else known + MEMORY * (seen - known)
        assert usual.usual.item() == pytest.approx(known, rel=1e-5)
    norm, finite = usual.clip([torch.tensor([1.0, float("nan")])])
    assert not finite
    assert usual.usual.item() == pytest.approx(known, rel=1e-5)
