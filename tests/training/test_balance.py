"""Balanced losses against a direct computation."""

import pytest
import torch

from dacodec.errors import ConfigError
from dacodec.training.balance import LOSSES, MEMORY, NORM, OUTLIER, BalanceConfig, Balancer


def gradients(seed, sizes):
    random = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(5, 1, 40, generator=random, dtype=torch.float64)
        for name, size in zip(LOSSES, sizes, strict=True)
    }


def directly(steps, shares):
    """The balanced gradient item by item in plain numbers, for the last step."""
    usual = {}
    for step in steps:
        totals = [0.0] * 5
        for name, share in zip(LOSSES, shares, strict=True):
            norms = [5 * g.square().sum().sqrt().item() for g in step[name]]
            mean = sum(norms) / 5
            known = usual.get(name)
            usual[name] = mean if known is None else known + MEMORY * (min(mean, OUTLIER * known) - known)
            for i, norm in enumerate(norms):
                totals[i] = totals[i] + share * NORM * step[name][i] / max(norm, usual[name])
    return torch.stack(totals)


def test_the_mixture_is_a_direct_computations():
    steps = [gradients(i, (3.0, 0.01, 50.0, 1.0)) for i in range(4)]
    steps[2]["wave"] *= 100  # an outlier, which hardly affects the usual norm
    for step in steps:
        step["mel"][1] *= 0.1  # a calm item
    shares = [0.2, 0.3, 0.1, 0.4]
    balancer = Balancer(torch.device("cpu"))
    balancer.usual = balancer.usual.double()
    for i, step in enumerate(steps):
        given = balancer(step, torch.tensor(shares, dtype=torch.float64))
        torch.testing.assert_close(given, directly(steps[: i + 1], shares), rtol=1e-12, atol=0)


def test_scale_means_nothing_and_calm_items_stay_calm():
    step = gradients(0, (1, 1, 1, 1))
    step["mel"][0] *= 0.01
    shares = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    one, other = (Balancer(torch.device("cpu"))({"mel": scale * step["mel"]}, shares) for scale in (1, 1e4))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
    norms = one.flatten(1).norm(dim=1) * 5 / NORM
    assert norms[0] < 0.03
    assert norms[1:].max() <= 1 + 1e-6
    assert (norms[1:] > 0.7).all()


def test_what_is_not_finite_is_passed_on_and_not_remembered():
    """The step itself is skipped because the total norm is not finite; it must not affect the next one."""
    balancer = Balancer(torch.device("cpu"))
    shares = torch.full((4,), 0.25)
    step = {name: g.float() for name, g in gradients(0, (1, 1, 1, 1)).items()}
    balancer(step, shares)
    before = balancer.usual.clone()
    bad = {**step, "loud": step["loud"] * float("nan")}
    assert not balancer(bad, shares).isfinite().any()
    assert balancer.usual[1] == before[1]
    assert balancer(step, shares).isfinite().all()


def test_shares_go_by_straight_lines_and_sum_to_one():
    config = BalanceConfig(shares=[[0.2, 1, 1, 2], [0.6, 3, 1, 0]], judge=0.5, judge_rise=0.1)
    assert config.at(0.0) == pytest.approx([0.25, 0.25, 0.5, 0])
    assert config.at(0.2) == pytest.approx([0.25, 0.25, 0.5, 0])
    assert config.at(0.4) == pytest.approx([0.5, 0.25, 0.25, 0])
    assert config.at(1.0, heard=0.05) == pytest.approx([0.5625, 0.1875, 0, 0.25])
    assert config.at(1.0, heard=0.7) == pytest.approx([0.375, 0.125, 0, 0.5])
    assert sum(BalanceConfig().at(0.3, 0.15)) == pytest.approx(1)
    for wrong in ([], [[0, 1, 1]], [[0, 0, 0, 0]], [[0.5, 1, 1, 1], [0.1, 1, 1, 1]]):
        with pytest.raises(ConfigError, match=r"balance\.shares"):
            BalanceConfig(shares=wrong)
