"""The split step: with all parts switched off it equals the published one; the effect of each part."""

import copy
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from small_runs import MODEL, config
from test_step import batch, networks, obvious_steps, same

from dacodec.errors import ConfigError
from dacodec.training.balance import LOSSES, BalanceConfig
from dacodec.training.config import CodebookConfig, LatentsConfig, OptimizerConfig, ScheduleConfig
from dacodec.training.losses import adversarial_loss, discriminator_loss, feature_loss, mel_losses, wave_loss
from dacodec.training.split import SplitStep, Stage
from dacodec.training.weight_norm import folded_state

FOLLOWING = CodebookConfig(trained=False, pace=0.1)


def make(settings, model, judge):
    return SplitStep(Fabric(accelerator="cpu"), settings, model, judge, torch.autocast("cpu", enabled=False))


def run(step, n_steps, progress=0.5):
    reports = []
    for number in range(n_steps):
        audio, counts = batch(number)
        reports.append({k: v.item() for k, v in step(audio, counts, number, progress).items()})
    return reports


def weights_of(model):
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def test_with_all_parts_left_out_it_is_the_published_step(tmp_path):
    settings = config(tmp_path, step="split", one_pass=False)
    model, judge = networks()
    slow_model, slow_judge = copy.deepcopy(model), copy.deepcopy(judge)
    reports = run(make(settings, model, judge), 4)
    same(reports, obvious_steps(settings, slow_model, slow_judge, 4), 2e-4)
    for ours, theirs in ((model, slow_model), (judge, slow_judge)):
        theirs = folded_state(theirs)
        for name, x in folded_state(ours).items():
            assert (x - theirs[name]).abs().median() < 1e-5, name


def test_one_pass_gives_the_gradients_of_two(tmp_path):
    """The gradients of both networks, each against a separate pass through the same discriminators."""
    settings = config(tmp_path, step="split")
    model, judge = networks()
    step = make(settings, model, judge)
    audio, _ = batch(0)
    leaf = (0.5 * audio + 0.1 * batch(1)[0]).requires_grad_()

    on_real, on_fake = judge(judge.views(audio)), judge(judge.views(leaf))
    expected = torch.autograd.grad(adversarial_loss(on_fake) + 2 * feature_loss(on_real, on_fake), leaf)[0]
    on_real, on_fake = judge(judge.views(audio)), judge(judge.views(leaf.detach()))
    its = torch.autograd.grad(discriminator_loss(on_real, on_fake), list(judge.parameters()))

    gradient, report = step._judged(audio, leaf, listens=True)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())
    for parameter, known in zip(judge.parameters(), its, strict=True):
        torch.testing.assert_close(
            parameter.grad, known, rtol=1e-4, atol=1e-6 * known.abs().max().item() + 1e-9
        )
    assert {"discriminator", "adversarial", "feature"} <= set(report)


def test_the_gradient_at_the_audio_is_the_balanced_one(tmp_path):
    settings = config(
        tmp_path, step="split", discriminator=None, balance=BalanceConfig(shares=[[0, 2, 1, 1]])
    )
    model, _ = networks()
    step = make(settings, model, None)
    step._set_progress(0.0)
    real, _ = batch(0)
    fake = 0.5 * real + 0.1 * batch(1)[0]
    gradient, report = step._at_the_audio(real, fake, Stage(True, False, False))
    total = 0
    for name, share in (("mel", 0.5), ("loud", 0.25), ("wave", 0.25)):
        leaf = fake.clone().requires_grad_()
        losses = mel_losses(leaf[:, 0], real[:, 0], MODEL.sampling_rate)
        losses["wave"] = wave_loss(leaf[:, 0], real[:, 0])
        assert report[name].item() == pytest.approx(losses[name].item())
        (g,) = torch.autograd.grad(losses[name], leaf)
        norms = g.flatten(1).norm(dim=1)
        total = total + share * 250 / 4 * g / torch.maximum(norms, norms.mean())[:, None, None]
    torch.testing.assert_close(gradient, total, rtol=1e-3, atol=1e-4 * total.abs().max().item())


def test_a_quantizer_that_follows_gets_no_gradients_and_moves(tmp_path):
    settings = config(tmp_path, step="split", codebooks=FOLLOWING, latents=LatentsConfig(0.15, 0.1))
    model, judge = networks()
    step = make(settings, model, judge)
    before = weights_of(model)
    reports = run(step, 3, progress=0.0)
    after = weights_of(model)
    for name, x in after.items():
        follows = name.endswith("codebook.weight")
        if name.startswith("quantizer.") and not follows:
            assert torch.equal(x, before[name]), name
        else:
            assert not torch.equal(x, before[name]), name
    assert {"error", "latents", "skipped"} <= set(reports[0])
    assert "commitment" not in reports[0]
    codes = weights_of(model)
    run(step, 1, progress=0.95)  # at rest
    assert all(
        torch.equal(x, codes[n]) for n, x in weights_of(model).items() if n.endswith("codebook.weight")
    )


def test_unquantized_steps_leave_the_quantizer_alone(tmp_path):
    codebooks = replace(FOLLOWING, initialise_step=2)
    settings = config(tmp_path, step="split", codebooks=codebooks)
    model, judge = networks()
    step = make(settings, model, judge)
    before = weights_of(model)
    run(step, 2, progress=0.0)
    assert step.quantized == []
    assert all(torch.equal(x, before[n]) for n, x in weights_of(model).items() if n.startswith("quantizer."))
    step(*batch(2), 2, 0.0)
    assert len(step.quantized) == 1


def test_stages_go_by_steps_and_by_shares(tmp_path):
    schedule = ScheduleConfig(
        discriminator_start_step=1, adversarial_start_step=2, discriminator_start=0.2, adversarial_start=0.4
    )
    settings = config(tmp_path, step="split", schedule=schedule, codebooks=CodebookConfig(initialise_step=3))
    step = make(settings, *networks())
    assert step.stage(0, 1.0) == Stage(False, False, False)
    assert step.stage(1, 0.1) == Stage(False, False, False)
    assert step.stage(1, 0.9) == Stage(False, True, False)
    assert step.stage(3, 0.3) == Stage(True, True, False)
    assert step.stage(3, 0.4) == Stage(True, True, True)
    assert make(replace(settings, discriminator=None), networks()[0], None).stage(9, 1.0).judges is False


@pytest.mark.parametrize("bad", ["audio", "judge"])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path, bad):
    settings = config(
        tmp_path,
        step="split",
        balance=BalanceConfig(),
        codebooks=FOLLOWING,
        latents=LatentsConfig(0.15, 0.1),
        generator_optimizer=OptimizerConfig(1e-3, usual_norms=2),
        max_skipped=3,
    )
    model, judge = networks()
    step = make(settings, model, judge)
    run(step, 2, progress=0.0)
    before = copy.deepcopy(
        (weights_of(model), weights_of(judge), {n: p.state_dict() for n, p in step.parts.items()})
    )
    audio, counts = batch(7)
    if bad == "audio":
        audio[1, 0, 5] = float("nan")
        report = step(audio, counts, 2, 0.0)
    else:
        kept = judge.discriminators[0].convs[0].bias.detach().clone()
        with torch.no_grad():
            judge.discriminators[0].convs[0].bias.fill_(float("inf"))
        report = step(audio, counts, 2, 0.0)
        with torch.no_grad():
            judge.discriminators[0].convs[0].bias.copy_(kept)
    assert report["skipped"] == 1
    after = (weights_of(model), weights_of(judge), {n: p.state_dict() for n, p in step.parts.items()})
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all(torch.equal(old[n], new[n]) for n in old)
    assert torch.equal(before[2]["codes"]["sums"], after[2]["codes"]["sums"])
    assert step(*batch(8), 3, 0.0)["skipped"] == 0
    assert all(x.isfinite().all() for x in weights_of(model).values())


def test_parts_and_settings_that_contradict_each_other(tmp_path):
    for wrong in (
        {"balance": BalanceConfig()},
        {"latents": LatentsConfig(0.1)},
        {"max_skipped": 3},
        {"codebooks": CodebookConfig(trained=False)},
        {"generator_optimizer": OptimizerConfig(usual_norms=2)},
        {"schedule": ScheduleConfig(adversarial_start=0.2)},
    ):
        with pytest.raises(ConfigError, match="set step to split"):
            config(tmp_path, **wrong)
        config(tmp_path, step="split", **wrong)
    with pytest.raises(ConfigError, match="set accumulate to 1"):
        config(tmp_path, step="split", accumulate=2)
    with pytest.raises(ConfigError, match=r"codebooks\.trained"):
        config(tmp_path, step="split", codebooks=CodebookConfig(pace=0.1))
    assert len(LOSSES) == len(BalanceConfig().at(0.5))
