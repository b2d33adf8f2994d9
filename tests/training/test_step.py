"""One step against a slow, obvious one, and variations that must not change its result."""

import copy

import pytest
import torch
from lightning_fabric import Fabric
from small_runs import DISCRIMINATOR, MODEL, config

from dacodec.model import DacModel
from dacodec.spectra import mel_distance
from dacodec.training.average import Average
from dacodec.training.discriminators import Discriminator
from dacodec.training.step import Autoencoder, TrainingStep, draw_codebooks
from dacodec.training.weight_norm import add_weight_norm, folded_state

LENGTH = 960


def networks():
    torch.manual_seed(3)
    model, judge = DacModel(MODEL).train(), Discriminator(DISCRIMINATOR)
    add_weight_norm(model)
    add_weight_norm(judge)
    return model, judge


def batch(step, size=4):
    random = torch.Generator().manual_seed(step)
    audio = 0.3 * torch.randn(size, 1, LENGTH, generator=random)
    return audio, torch.randint(1, 4, (size,), generator=random)


def adamw(network, optimizer):
    return torch.optim.AdamW(
        network.parameters(),
        lr=optimizer.learning_rate,
        betas=optimizer.betas,
        weight_decay=optimizer.weight_decay,
    )


def make_step(settings, model, judge):
    fabric = Fabric(accelerator="cpu")
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16-mixed")
    generator, generator_optimizer = fabric.setup(
        Autoencoder(model, autocast), adamw(model, settings.generator_optimizer)
    )
    discriminator, discriminator_optimizer = fabric.setup(
        judge, adamw(judge, settings.discriminator_optimizer)
    )
    return TrainingStep(
        fabric,
        settings,
        generator,
        generator_optimizer,
        MODEL.sampling_rate,
        autocast,
        discriminator,
        discriminator_optimizer,
        judge,
    )


def obvious_steps(settings, model, judge, n_steps):
    """The original's loop, written out plainly: the discriminator first, then the generator against the new one."""
    g = adamw(model, settings.generator_optimizer)
    d = adamw(judge, settings.discriminator_optimizer)
    reports = []
    for step in range(n_steps):
        audio, counts = batch(step)
        quantized = model.quantizer(model.encoder(audio), counts)
        fake = model.decoder(quantized.quantized_representation)
        real = audio[..., : fake.shape[-1]]

        d.zero_grad()
        d_loss = 0
        for r, f in zip(judge(judge.views(real)), judge(judge.views(fake.detach())), strict=True):
            d_loss = d_loss + (f[-1] ** 2).mean() + ((1 - r[-1]) ** 2).mean()
        d_loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), settings.discriminator_optimizer.max_grad_norm)
        d.step()

        g.zero_grad()
        on_real, on_fake = judge(judge.views(real)), judge(judge.views(fake))
        adversarial = sum(((1 - f[-1]) ** 2).mean() for f in on_fake)
        feature = sum(
            (x - y.detach()).abs().mean()
            for f, r in zip(on_fake, on_real, strict=True)
            for x, y in zip(f[:-1], r[:-1], strict=True)
        )
        per_item = [
            sum(losses[i, :k].sum() for i, k in enumerate(counts)) / len(counts)
            for losses in (quantized.commitment_loss, quantized.codebook_loss)
        ]
        mel = mel_distance(fake[:, 0], real[:, 0], MODEL.sampling_rate)
        total = 15 * mel + adversarial + 2 * feature + 0.25 * per_item[0] + per_item[1]
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.generator_optimizer.max_grad_norm)
        g.step()
        reports.append(
            {
                "mel": mel,
                "adversarial": adversarial,
                "feature": feature,
                "discriminator": d_loss,
                "commitment": per_item[0],
                "codebook": per_item[1],
            }
        )
    return [{name: loss.item() for name, loss in report.items()} for report in reports]


def run(settings, model, judge, n_steps, first=0):
    step = make_step(settings, model, judge)
    reports = [step(*batch(number), number) for number in range(first, first + n_steps)]
    return [{name: loss.item() for name, loss in report.items()} for report in reports]


def same(a, b, rel):
    for x, y in zip(a, b, strict=True):
        assert {k: x[k] for k in y} == pytest.approx(y, rel=rel)


def test_the_step_is_the_originals(tmp_path):
    settings = config(tmp_path)
    model, judge = networks()
    slow_model, slow_judge = copy.deepcopy(model), copy.deepcopy(judge)
    same(run(settings, model, judge, 4), obvious_steps(settings, slow_model, slow_judge, 4), 2e-4)
    for ours, theirs in ((model, slow_model), (judge, slow_judge)):
        theirs = folded_state(theirs)
        for name, x in folded_state(ours).items():
            # Adam turns rounding of tiny gradients into steps of full size, so a few weights may differ more.
            assert (x - theirs[name]).abs().median() < 1e-5, name


def test_a_step_in_parts_is_a_step(tmp_path):
    reports = []
    for parts in (1, 2, 4):
        model, judge = networks()
        reports.append(run(config(tmp_path, accumulate=parts), model, judge, 3))
    same(reports[0], reports[1], 2e-4)
    same(reports[0], reports[2], 2e-4)


def test_when_the_discriminator_learns_and_is_heard(tmp_path):
    settings = config(tmp_path)
    schedule = type(settings.schedule)(discriminator_start_step=1, adversarial_start_step=2)
    model, judge = networks()
    before = copy.deepcopy(judge.state_dict())
    step = make_step(config(tmp_path, schedule=schedule), model, judge)
    names = []
    for number in range(3):
        names.append(set(step(*batch(number), number)))
        if number == 0:
            assert all(torch.equal(x, before[n]) for n, x in judge.state_dict().items())
    alone = {"mel", "commitment", "codebook", "norm"}
    assert names[0] == alone
    assert names[1] == alone | {"discriminator", "discriminator_norm"}
    assert names[2] == names[1] | {"adversarial", "feature"}
    assert all(p.requires_grad for p in judge.parameters())


def test_in_bfloat16_the_quantizer_and_the_spectra_stay_in_float32(tmp_path):
    seen = {}
    model, judge = networks()
    model.encoder.conv2.register_forward_hook(lambda m, i, o: seen.update(encoder=o.dtype))
    model.quantizer.register_forward_hook(
        lambda m, i, o: seen.update(latents=i[0].dtype, coded=o.quantized_representation.dtype)
    )
    judge.discriminators[0].register_forward_hook(
        lambda m, i, o: seen.update(view=i[0].dtype, map=o[0].dtype)
    )
    mixed = run(config(tmp_path, precision="bf16-mixed"), model, judge, 1)
    assert seen == {
        "encoder": torch.bfloat16,
        "latents": torch.float32,
        "coded": torch.float32,
        "view": torch.float32,
        "map": torch.bfloat16,
    }
    same(mixed, run(config(tmp_path), *networks(), 1), 0.1)


def test_quantizer_dropout_is_drawn_by_step_and_place():
    whole = draw_codebooks(5, 0, 64, 9, 0.5, rank=0, world_size=1)
    halves = [draw_codebooks(5, 0, 64, 9, 0.5, rank=r, world_size=2) for r in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(draw_codebooks(6, 0, 64, 9, 0.5, 0, 1), whole)
    many = torch.cat([draw_codebooks(i, 0, 64, 9, 0.5, 0, 1) for i in range(100)])
    assert (many < 9).float().mean().item() == pytest.approx(0.5 * 8 / 9, abs=0.02)
    assert many.unique().tolist() == list(range(1, 10))
    assert draw_codebooks(5, 0, 64, 9, 0.0, 0, 1).unique().tolist() == [9]


def test_the_average_of_the_weights():
    layer = torch.nn.Linear(2, 2)
    average = Average(layer, 0.9)
    expected = layer.weight.detach().clone()
    for i in range(30):
        with torch.no_grad():
            layer.weight.add_(1)
        average.update()
        keep = min(0.9, (1 + i) / (10 + i))
        expected = keep * expected + (1 - keep) * layer.weight.detach()
    torch.testing.assert_close(average.tensors["weight"], expected)
    last = Average(layer, 0.0)
    with torch.no_grad():
        layer.bias.add_(1)
    last.update()
    assert torch.equal(last.tensors["bias"], layer.bias)
