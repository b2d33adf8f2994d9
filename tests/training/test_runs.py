"""Whole runs: how they end, what they write, how they resume."""

import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import DISCRIMINATOR, MODEL, RATE, config, events, losses, make_audio
from test_data import make_tar, wav

from dacodec import DacModel
from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.errors import CheckpointError, ConfigError, OutputError, TrainingError
from dacodec.locking import lock
from dacodec.training.checkpoints import load_checkpoint, load_discriminator, save_checkpoint
from dacodec.training.config import CodebookConfig, load_config, save_config
from dacodec.training.discriminators import Discriminator, DiscriminatorConfig
from dacodec.training.feed import Feed
from dacodec.training.log import RunLog
from dacodec.training.loop import fit
from dacodec.training.schedule import learning_rate_factor
from dacodec.training.sources import find_units
from dacodec.training.weight_norm import folded_state


@pytest.fixture(autouse=True)
def _undone():
    """A deterministic run sets this for its process."""
    yield
    torch.use_deterministic_algorithms(False)


def test_a_run_learns_and_leaves_a_model_and_a_line_a_step(tmp_path):
    result = fit(config(tmp_path, steps=40, discriminator=None, ema_decay=0.9, log_steps=7))
    rows = losses(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(40))
    first, last = (np.mean([row["mel"] for row in part]) for part in (rows[:5], rows[-5:]))
    assert last < 0.85 * first
    assert result.step == 40
    assert result.audio_seconds == pytest.approx(40 * 4 * 0.12)
    model = DacModel.from_pretrained(result.model)
    assert model.config == MODEL
    stored = load_checkpoint(tmp_path / "run" / "checkpoints")
    averaged = fold_weight_norm(stored["average"]["tensors"])
    for name, x in model.state_dict().items():
        exact = "codebook" in name or x.ndim == 1
        torch.testing.assert_close(x, averaged[name], rtol=0 if exact else 1e-3, atol=0 if exact else 1e-5)


def test_a_budget_of_minutes_ends_cleanly_and_the_run_goes_on(tmp_path):
    short = config(tmp_path, steps=None, max_minutes=0.02)
    result = fit(short)
    assert "minutes are over" in result.reason
    DacModel.from_pretrained(result.model)
    again = fit(replace(short, max_minutes=None, steps=result.step + 2))
    assert [row["step"] for row in losses(short.out)] == list(range(again.step))
    other = replace(short, model=replace(MODEL, codebook_size=32))
    with pytest.raises(TrainingError, match="another shape"):
        fit(other)


def test_a_loss_that_is_not_a_number_is_named(tmp_path, monkeypatch):
    from dacodec.training import step

    calls = []

    def broken(*args):
        calls.append(args)
        return args[0].sum() * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(step, "mel_distance", broken)
    with pytest.raises(TrainingError, match="mel is nan at step 3"):
        fit(config(tmp_path, discriminator=None))


COMMAND = [sys.executable, "-m", "dacodec", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def one_thread():
    """As in runs in their own processes: the rounding of sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_at_any_step_a_run_goes_on_with_the_same_losses(tmp_path, one_thread):
    settings = config(
        tmp_path,
        steps=9,
        log_steps=1,
        checkpoint_minutes=0.0,
        deterministic=True,
        keep_checkpoints=2,
        codebooks=CodebookConfig(initialise_step=2, revive_steps=3),
    )
    fit(settings)
    killed = tmp_path / "killed"
    save_config(replace(settings, out=str(killed)), tmp_path / "killed.yaml")
    command = [*COMMAND, str(tmp_path / "killed.yaml")]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while not (killed / "log.jsonl").exists() or len(losses(killed)) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    checkpoint = load_checkpoint(killed / "checkpoints")
    assert 4 <= checkpoint["step"] < 9
    fit(replace(settings, out=str(killed)))
    assert losses(killed) == losses(settings.out)
    assert events(killed, "codebooks") == events(settings.out, "codebooks")
    assert len(list((killed / "checkpoints").iterdir())) == 2
    a, b = (load_file(Path(out) / "model" / "model.safetensors") for out in (settings.out, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes_are_one(tmp_path):
    settings = config(tmp_path, steps=4, codebooks=CodebookConfig(initialise_step=2))
    fit(settings)
    two = replace(settings, out=str(tmp_path / "two"), devices=2)
    save_config(two, tmp_path / "two.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29713"]
    command = [*launcher, "-m", "dacodec", "train", str(tmp_path / "two.yaml")]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    ours, theirs = losses(settings.out), losses(two.out)
    assert len(ours) == len(theirs) == 4
    for one, both in zip(ours, theirs, strict=True):
        assert both == pytest.approx(one, rel=1e-3)


def test_a_run_at_its_end_goes_no_further(tmp_path):
    settings = config(tmp_path, steps=4, log_steps=10, discriminator=None)
    fit(settings)
    before = (tmp_path / "run" / "log.jsonl").read_text()
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    for steps in (4, 3):
        result = fit(replace(settings, steps=steps))
        assert (result.step, result.reason) == (4, f"{steps} steps done")
        assert load_checkpoint(tmp_path / "run" / "checkpoints")["step"] == 4
    assert [row["step"] for row in losses(settings.out)] == list(range(4))
    assert (tmp_path / "run" / "log.jsonl").read_text().startswith(before)
    assert DacModel.from_pretrained(result.model).config == MODEL  # complete again


def test_one_run_in_a_folder(tmp_path):
    settings = config(tmp_path, steps=100_000, discriminator=None)
    save_config(settings, tmp_path / "run.yaml")
    command = [*COMMAND, str(tmp_path / "run.yaml")]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as first:
        while not (tmp_path / "run" / "log.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.01)
        second = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(f"dacodec: process {first.pid} on {platform.node()} is training in")
        assert second.stderr.count("\n") == 1
        with pytest.raises(TrainingError, match=f"process {first.pid} "):
            fit(settings)
        first.kill()
    assert fit(replace(settings, steps=2)).step >= 2  # a crash leaves no lock


def test_a_lock_is_not_handed_to_forked_workers(tmp_path):
    file = lock(tmp_path)
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=time.sleep, args=(60,))
    worker.start()
    file.close()
    program = f"from pathlib import Path; from dacodec.locking import lock; lock(Path({str(tmp_path)!r}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    worker.kill()
    worker.join()
    assert run.returncode == 0, run.stderr


def test_a_folder_that_cannot_be_locked_is_told_of(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with pytest.warns(UserWarning, match="cannot be locked .*No locks available"):
        lock(tmp_path).close()


def test_a_run_replaces_nothing_that_it_begins_from(tmp_path, light):
    mine = tmp_path / "mine" / "config.yaml"
    mine.parent.mkdir()
    mine.write_text("# tuned by hand\nsteps: 3\n")
    with pytest.raises(OutputError, match="was not written by a run"):
        fit(config(tmp_path, out=str(mine.parent)))
    assert mine.read_text().startswith("# tuned by hand")
    shutil.copytree(light, tmp_path / "run" / "model")
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="is the input itself"):
        fit(config(tmp_path, model=None, init=str(tmp_path / "run" / "model"), steps=1))
    judge = tmp_path / "run" / "model" / "discriminator.safetensors"
    with pytest.raises(OutputError, match="is the input itself"):
        fit(config(tmp_path, init_discriminator=str(judge), steps=1))
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before


def test_the_log_shows_names_as_they_are(tmp_path, capsys):
    log = RunLog(tmp_path, 0, tensorboard=False)
    log.say("skipped [/x]\x1b[2J.wav: damaged")
    log.close()
    assert r"skipped [/x]\x1b[2J.wav: damaged" in capsys.readouterr().err


def test_sigterm_ends_a_run_with_everything_saved(tmp_path):
    settings = config(tmp_path, steps=100_000, discriminator=None)
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    result = fit(settings)
    assert result.reason == "stopped by SIGTERM"
    assert load_checkpoint(tmp_path / "run" / "checkpoints")["step"] == result.step > 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_checkpoints_are_whole_and_few(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".step-00000001.pt.{ended.pid}.part"
    left.write_bytes(b"of a run that was killed while it wrote")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step, "x": torch.zeros(2)}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]

    class Unwritable:
        def __reduce__(self):
            raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        save_checkpoint(tmp_path, 4, {"x": torch.zeros(2), "y": Unwritable()}, keep=2)
    assert load_checkpoint(tmp_path)["step"] == 3
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "step-00000003.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(tmp_path)


# Starting from weights


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The light form written by a short run."""
    return fit(config(tmp_path_factory.mktemp("light"), steps=3)).model


def test_the_light_form_has_both_networks_in_half_precision(light):
    shape, tensors = load_discriminator(light / "discriminator.safetensors")
    assert shape == DISCRIMINATOR
    stored = load_file(light / "discriminator.safetensors")
    assert {str(x.dtype) for n, x in stored.items() if n.endswith("weight")} == {"torch.float16"}
    last = load_checkpoint(light.parent / "checkpoints")["discriminator"]
    for name, x in fold_weight_norm(last).items():
        torch.testing.assert_close(tensors[name], x, rtol=1e-3, atol=1e-5)
    model = load_file(light / "model.safetensors")
    assert model["encoder.conv1.weight"].dtype == torch.float16
    assert model["quantizer.quantizers.0.codebook.weight"].dtype == torch.float32


def test_a_run_begins_from_the_light_form(tmp_path, light):
    result = fit(
        config(
            tmp_path,
            model=None,
            init=str(light),
            steps=1,
            ema_decay=0.0,
            generator_optimizer=replace(config(tmp_path).generator_optimizer, learning_rate=0.0),
            discriminator_optimizer=replace(
                config(tmp_path).generator_optimizer, learning_rate=0.0, weight_decay=0.0
            ),
        )
    )
    for name in ("model", "discriminator"):
        before, after = (load_file(folder / f"{name}.safetensors") for folder in (light, result.model))
        for key, x in before.items():
            torch.testing.assert_close(after[key], x, rtol=2e-3, atol=1e-6)


def test_a_run_begins_from_hugging_face_and_from_descript(tmp_path):
    hugging_face = Path(__file__).parents[1] / "checkpoint" / "data" / "hf4"
    shape = DacModel.from_pretrained(hugging_face).config
    base = config(tmp_path, model=None, steps=1, init=str(hugging_face), discriminator=None)
    base = replace(base, data=replace(base.data, crop_seconds=0.2))
    assert DacModel.from_pretrained(fit(base).model).config == shape
    assert fit(replace(base, steps=2)).step == 2  # and it resumes
    # Descript's own form of a discriminator: layers in pairs, weight_g and weight_v.
    narrow = Discriminator(DiscriminatorConfig(periods=(2,), fft_sizes=(512,), width=0.05))
    state = {}
    for name, x in folded_state(narrow).items():
        layer, kind = name.rsplit(".", 1)
        layer += "" if layer.endswith("conv_post") else ".0"
        if kind == "weight":
            state |= {f"{layer}.weight_g": torch.norm_except_dim(x, 2, 0), f"{layer}.weight_v": 3 * x}
        else:
            state[f"{layer}.bias"] = x
    torch.save({"state_dict": state, "metadata": {"kwargs": {}}}, tmp_path / "weights.pth")
    shape, tensors = load_discriminator(tmp_path / "weights.pth")
    assert shape == DiscriminatorConfig()
    assert tensors.keys() == narrow.state_dict().keys()
    for name, x in narrow.state_dict().items():
        torch.testing.assert_close(tensors[name], x)


def test_a_discriminator_of_another_shape_is_refused(tmp_path, light):
    settings = config(tmp_path, model=None, init=str(light), steps=1)
    other = replace(settings, discriminator=replace(DISCRIMINATOR, width=0.1))
    with pytest.raises(ConfigError, match="shape"):
        fit(other)
    with pytest.raises(CheckpointError, match="no discriminator"):
        fit(replace(settings, init_discriminator=str(tmp_path / "none.safetensors")))
    fit(replace(other, init_discriminator=""))


# New data during a run


class OneProcess:
    """The part of Fabric that a feed needs."""

    local_rank, is_global_zero = 0, True

    def barrier(self):
        pass


def test_tars_that_appear_are_taken_in_once_they_are_whole(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    first = make_tar(folder / "a.tar", {"a.wav": wav(300, rate=RATE)})
    settings = config(tmp_path)
    settings = replace(
        settings, data=replace(settings.data, sources=[f"{folder}/*.tar"], rescan_seconds=0.05)
    )
    feed = Feed(OneProcess(), settings, MODEL, [])
    try:
        assert len(feed.clips) == 1
        whole = make_tar(tmp_path / "b.tar", {"b.wav": wav(500, rate=RATE), "c.wav": wav(700, rate=RATE)})
        (folder / "b.tar").write_bytes(whole.read_bytes()[:-30_000])
        time.sleep(0.4)
        assert feed.newer() == []
        (folder / "b.tar").write_bytes(whole.read_bytes())
        newer, deadline = [], time.monotonic() + 20
        while not newer and time.monotonic() < deadline:
            time.sleep(0.05)
            newer = feed.newer()
        feed.take_in(newer)
        assert len(feed.clips) == 3
        # A resumed run numbers crops by the order in which the tars arrived.
        order = feed.keys
    finally:
        feed.close()
    (folder / "b.tar").rename(folder / "0.tar")
    (folder / "0.tar").rename(folder / "b.tar")
    assert find_units([f"{folder}/*.tar"])[0].origin == str(first)
    later = Feed(
        OneProcess(), replace(settings, data=replace(settings.data, rescan_seconds=0)), MODEL, order[::-1]
    )
    assert later.keys == order[::-1]


# Settings


def test_the_learning_rate_follows_its_schedule(tmp_path):
    settings = config(tmp_path)
    published = replace(settings, schedule=replace(settings.schedule, warmup_steps=0))
    assert learning_rate_factor(1000, 0.5, published) == pytest.approx(0.999996**1000)
    cosine = replace(settings.schedule, warmup_steps=10, decay="cosine", final_share=0.1)
    at = lambda step, progress: learning_rate_factor(step, progress, replace(settings, schedule=cosine))  # noqa: E731
    assert at(4, 0.0) == pytest.approx(0.5)
    assert at(100, 0.5) == pytest.approx(0.55)
    assert at(100, 1.0) == pytest.approx(0.1)
    second_half = replace(settings, schedule=replace(cosine, begin=0.5, end=1.0))
    assert learning_rate_factor(100, 0.0, second_half) == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("recipe", "ratios", "n_codebooks", "rate"),
    [
        ("16khz", (2, 4, 5, 8), 12, 16000),
        ("24khz", (2, 4, 5, 8), 32, 24000),
        ("44khz", (2, 4, 8, 8), 9, 44100),
    ],
)
def test_the_published_settings(recipe, ratios, n_codebooks, rate):
    settings = load_config(recipe)
    model, weights = settings.model, settings.losses
    assert (model.downsampling_ratios, model.n_codebooks, model.sampling_rate) == (ratios, n_codebooks, rate)
    assert (model.encoder_hidden_size, model.decoder_hidden_size, model.hidden_size) == (64, 1536, 1024)
    assert (model.codebook_size, model.codebook_dim, model.quantizer_dropout) == (1024, 8, 0.5)
    assert (weights.mel, weights.feature, weights.adversarial) == (15, 2, 1)
    assert (weights.commitment, weights.codebook) == (0.25, 1)
    for optimizer, norm in ((settings.generator_optimizer, 1e3), (settings.discriminator_optimizer, 10)):
        assert (optimizer.learning_rate, optimizer.betas, optimizer.weight_decay) == (1e-4, (0.8, 0.99), 0.01)
        assert optimizer.max_grad_norm == norm
    assert settings.discriminator == DiscriminatorConfig()
    assert (settings.schedule.decay, settings.schedule.gamma) == ("exponential", 0.999996)
    assert (settings.batch_size, settings.steps, settings.data.crop_seconds) == (72, 400_000, 0.38)
    assert settings.ema_decay == 0
    n_parameters = sum(x.numel() for x in Discriminator(settings.discriminator).parameters())
    assert n_parameters == pytest.approx(42e6, rel=0.02)


def test_overrides_and_unknown_keys(tmp_path):
    settings = load_config(
        "smoke", ["--data.workers", "3", "--model.n_codebooks=2"], max_minutes=1.5, out=None
    )
    assert settings.data.workers == 3
    assert settings.model.n_codebooks == 2
    assert settings.max_minutes == 1.5
    assert settings.model.encoder_hidden_size == load_config("smoke").model.encoder_hidden_size
    for wrong in ("--data.worker=3", "--steps=many", "--precision=fp8", "--discriminator.widht=1"):
        with pytest.raises(ConfigError, match=wrong.removeprefix("--").split("=")[0].split(".")[-1]):
            load_config("smoke", [wrong])
    path = tmp_path / "mine.yaml"
    save_config(settings, path)
    assert load_config(str(path)) == settings
    path.write_text("steps: 3\nbatchsize: 4\n")
    with pytest.raises(ConfigError, match="batchsize"):
        load_config(str(path))
    with pytest.raises(ConfigError, match="smoke"):
        load_config("no-such-recipe")
    with pytest.raises(ConfigError, match="max_minutes"):
        load_config(str(path), ["--steps=null"]) if path.write_text("{}") else None
    with pytest.raises(ConfigError, match="multiple of"):
        fit(config(tmp_path, batch_size=3, accumulate=2))


def test_codebook_usage_is_logged(tmp_path):
    fit(config(tmp_path, steps=6, codebooks=CodebookConfig(revive_steps=3)))
    rows = events(tmp_path / "run", "codebooks")
    assert [row["step"] for row in rows] == [3, 6]
    assert len(rows[0]["entropy_bits"]) == MODEL.n_codebooks
    assert 0 < rows[0]["used_share"] <= 1


def test_tensorboard_gets_scalars_audio_and_spectra(tmp_path):
    settings = config(tmp_path, steps=2, tensorboard=True)
    make_audio(tmp_path / "val")
    settings = replace(settings, data=replace(settings.data, validation=[str(tmp_path / "val")]))
    fit(settings)
    [row] = events(settings.out, "validation")
    assert row["mel"] > 0
    [file] = (tmp_path / "run" / "tensorboard").iterdir()
    content = file.read_bytes()
    for tag in (b"train/mel", b"validation/mel", b"decoded/0", b"original/3/spectrum"):
        assert tag in content
