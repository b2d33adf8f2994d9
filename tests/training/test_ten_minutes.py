"""The ten-minute recipe as a whole: its parts, killing and resuming it, and two processes."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import MODEL, RATE, config, events, losses
from test_data import make_tar, wav
from test_runs import COMMAND, ENVIRONMENT, _undone, one_thread  # noqa: F401

from dacodec import DacModel
from dacodec.errors import ConfigError, TrainingError
from dacodec.training.balance import BalanceConfig
from dacodec.training.checkpoints import load_checkpoint
from dacodec.training.config import (
    CodebookConfig,
    LatentsConfig,
    OptimizerConfig,
    ScheduleConfig,
    load_config,
    save_config,
)
from dacodec.training.feed import Feed
from dacodec.training.loop import fit
from dacodec.training.resident import ResidentConfig


def small(tmp_path, **changes):
    """All parts of the recipe, in a few steps of a tiny model."""
    base = config(
        tmp_path,
        steps=12,
        log_steps=1,
        step="split",
        start="scaled",
        balance=BalanceConfig(),
        latents=LatentsConfig(0.15, 0.1),
        codebooks=CodebookConfig(
            initialise_step=2, trained=False, fit_at=[0.3, 0.5], fit_crops=6, pace=0.05, revive_steps=4
        ),
        max_skipped=3,
        generator_optimizer=OptimizerConfig(1e-3, max_grad_norm=1e9, usual_norms=2),
        discriminator_optimizer=OptimizerConfig(1e-3, max_grad_norm=1e9, usual_norms=2),
        schedule=ScheduleConfig(
            warmup_steps=2, decay="cosine", discriminator_start=0.2, adversarial_start=0.4
        ),
    )
    base = replace(base, data=replace(base.data, resident=ResidentConfig()))
    return replace(base, **changes)


def test_the_recipe_has_all_parts():
    recipe = load_config("small-3")
    assert (recipe.model.encoder_hidden_size, recipe.model.decoder_hidden_size) == (32, 512)
    assert recipe.model.downsampling_ratios == (4, 4, 4, 8)
    assert recipe.max_minutes == 10
    assert recipe.steps is None
    assert (recipe.step, recipe.start, recipe.one_pass) == ("split", "scaled", True)
    assert recipe.balance == BalanceConfig()
    assert not recipe.codebooks.trained
    assert recipe.data.resident is not None
    assert round(recipe.data.crop_seconds * recipe.model.frames_per_second) * 512 == 16384
    speed = recipe.speed
    assert all((speed.graph, speed.fused_snake, speed.channels_last, speed.float32_tail, speed.cudnn_search))
    for published in ("16khz", "24khz", "44khz"):
        other = load_config(published)
        assert (other.step, other.start, other.balance, other.data.resident) == (
            "published",
            "plain",
            None,
            None,
        )
        assert other.codebooks == CodebookConfig()


def test_it_learns_and_leaves_a_model(tmp_path):
    settings = small(tmp_path, steps=60, log_steps=6, discriminator=None, ema_decay=0.9, validate_minutes=0.0)
    optimizer = replace(settings.generator_optimizer, learning_rate=3e-3)
    settings = replace(settings, generator_optimizer=optimizer)
    settings = replace(settings, data=replace(settings.data, validation=settings.data.sources))
    result = fit(settings)
    rows = losses(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(60))
    mels = [row["mel"] for row in events(tmp_path / "run", "validation")]
    assert mels[-1] < 0.85 * mels[0], mels
    assert rows[-1]["skipped"] == 0
    assert rows[-1]["latents"] == pytest.approx(1, abs=0.4)
    assert DacModel.from_pretrained(result.model).config == MODEL
    # The saved quantizer is the last one, to which encoder and decoder have adapted, not an average.
    stored = load_checkpoint(tmp_path / "run" / "checkpoints")
    saved = load_file(result.model / "model.safetensors")
    name = "quantizer.quantizers.1.codebook.weight"
    assert torch.equal(saved[name], stored["model"][name])
    assert torch.equal(stored["average"]["tensors"][name], stored["model"][name])


def test_killed_at_any_step_it_goes_on_with_the_same_losses(tmp_path, one_thread):  # noqa: F811
    """Counted in steps. With a clock, the learning rates depend on when the steps happened."""
    settings = small(tmp_path, checkpoint_minutes=0.0, deterministic=True)
    fit(settings)
    killed = tmp_path / "killed"
    save_config(replace(settings, out=str(killed)), tmp_path / "killed.yaml")
    with subprocess.Popen(
        [*COMMAND, str(tmp_path / "killed.yaml")], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    ) as process:
        while not (killed / "log.jsonl").exists() or len(losses(killed)) < 6:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert 5 <= load_checkpoint(killed / "checkpoints")["step"] < 12
    fit(replace(settings, out=str(killed)))
    assert losses(killed) == losses(settings.out)
    assert events(killed, "codebooks") == events(settings.out, "codebooks")
    a, b = (load_file(Path(out) / "model" / "model.safetensors") for out in (settings.out, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes_are_one(tmp_path):
    settings = small(tmp_path)
    fit(settings)
    two = replace(settings, out=str(tmp_path / "two"), devices=2)
    save_config(two, tmp_path / "two.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29714"]
    command = [*launcher, "-m", "dacodec", "train", str(tmp_path / "two.yaml")]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    ours, theirs = losses(settings.out), losses(two.out)
    assert len(ours) == len(theirs) == 12
    for one, both in zip(ours, theirs, strict=True):
        assert both == pytest.approx(one, rel=5e-3)


class Ticking:
    """A clock that advances at every reading, so that a run has the same length on every machine."""

    now = 0.0

    def monotonic(self):
        self.now += 0.05
        return self.now


def test_minutes_are_the_runs_and_not_the_processes(tmp_path, monkeypatch):
    """Killed and resumed, a run of minutes takes only those that are left, and repeats no fit."""
    clock = Ticking()
    for module in ("loop", "schedule"):
        monkeypatch.setattr(f"dacodec.training.{module}.time", clock)
    settings = small(tmp_path, steps=None, max_minutes=0.05, checkpoint_minutes=0.0)
    whole = fit(replace(settings, out=str(tmp_path / "whole")))
    short = replace(settings, max_minutes=0.02)
    first = fit(short)
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["minutes"] >= 0.02
    assert fit(short).step == first.step  # it is over
    begin = clock.now
    later = fit(settings)
    assert clock.now - begin < 0.8 * 0.05 * 60
    assert 2 < first.step < later.step - 2
    assert later.step == pytest.approx(whole.step, abs=3)
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["care"]["fits"] == 2
    rates = [row["learning_rate_factor"] for row in losses(settings.out)]
    assert rates[first.step] < 0.85  # not at the start of the cosine again


class OneProcess:
    """The part of Fabric that a feed needs."""

    local_rank = global_rank = 0
    world_size, is_global_zero, device = 1, True, torch.device("cpu")

    def barrier(self):
        pass

    def broadcast(self, x):
        return x


def test_it_begins_with_one_tar_and_takes_in_the_others(tmp_path):
    """With weights for all pools, although the first tar has only one."""
    (tmp_path / "tars").mkdir()
    for name, pitch in (("a", 300), ("b", 500), ("c", 700)):
        rows = [(f"{name}.wav", "train", name)]
        make_tar(tmp_path / "tars" / f"{name}.tar", {f"{name}.wav": wav(pitch, rate=RATE)}, rows)
    settings = small(tmp_path)
    data = replace(
        settings.data,
        sources=[f"{tmp_path}/tars/*.tar"],
        weights={"a": 1.0, "b": 3.0},
        begin_early=True,
        rescan_seconds=0.05,
    )
    settings = replace(settings, data=data)
    feed = Feed(OneProcess(), settings, MODEL, [])
    try:
        assert [clip.pool for clip in feed.clips] == ["a"]
        assert feed.probabilities.tolist() == [1.0]
        first = feed.resident
        deadline = time.monotonic() + 60
        while len(feed.clips) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
            newer = feed.newer()
            if newer:
                feed.take_in(newer)
        assert [clip.pool for clip in feed.clips] == ["a", "b", "c"]
        assert feed.probabilities.tolist() == pytest.approx([0.25, 0.75, 0.0])
        assert len(feed.resident.audio) == 3 * len(first.audio)
        assert next(feed.batches(0)).shape == (4, 1, feed.crop_length)
        known = feed.keys
    finally:
        feed.close()
    later = Feed(OneProcess(), settings, MODEL, known)  # decoded audio is available at once
    later.close()
    assert later.keys == known
    with pytest.raises(ConfigError, match="rescan_seconds"):
        replace(settings, data=replace(data, rescan_seconds=0))


def test_skipped_steps_are_counted_and_too_many_end_the_run(tmp_path, monkeypatch):
    from dacodec.training import split

    original, calls = split.wave_loss, []

    def broken(fake, real):
        calls.append(fake)
        bad = len(calls) - 1 in bad_steps
        return original(fake, real) * (float("nan") if bad else 1.0)

    monkeypatch.setattr(split, "wave_loss", broken)
    bad_steps = {3, 4, 6}
    fit(small(tmp_path, steps=8, log_steps=3, discriminator=None))
    rows = losses(tmp_path / "run")
    assert [row["skipped"] for row in rows] == [0, 0, 0, 1, 2, 2, 3, 3]
    assert "wave" not in rows[3]
    assert rows[5]["wave"] > 0
    calls.clear()
    bad_steps = range(2, 99)
    with pytest.raises(TrainingError, match="wave is nan at step 5, after 3 skipped steps in a row"):
        fit(small(tmp_path, steps=9, log_steps=3, discriminator=None, out=str(tmp_path / "bad")))
