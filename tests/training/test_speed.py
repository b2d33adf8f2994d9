"""Faster ways to compute a step give the same result: other memory order, float32 at the end, recorded steps."""

from dataclasses import replace

import pytest
import torch
from small_runs import DISCRIMINATOR, MODEL, config
from test_split import FOLLOWING, make
from test_step import batch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from dacodec.errors import ConfigError
from dacodec.model import DacModel
from dacodec.model.layers import Snake
from dacodec.training.balance import BalanceConfig
from dacodec.training.config import LatentsConfig, ScheduleConfig, SpeedConfig
from dacodec.training.discriminators import Discriminator
from dacodec.training.graph import WARM_UP, Graphed
from dacodec.training.launch import launch
from dacodec.training.layers import speed_up
from dacodec.training.split import Stage
from dacodec.training.weight_norm import add_weight_norm

CPU = torch.device("cpu")


def networks(speed):
    torch.manual_seed(3)
    model, judge = DacModel(MODEL).train(), Discriminator(DISCRIMINATOR)
    speed_up(model, judge, speed, CPU)
    add_weight_norm(model)
    add_weight_norm(judge)
    return model, judge


def is_last(x):
    return x.transpose(1, 2).is_contiguous() and min(x.shape[1:]) > 1


def test_channels_last_is_the_same_network_in_another_memory_order():
    plain, fast = networks(SpeedConfig()), networks(SpeedConfig(channels_last=True))
    orders = []
    for layer in (*fast[0].encoder.modules(), *fast[0].decoder.modules()):
        if isinstance(layer, Snake):
            layer.register_forward_hook(lambda m, i, o: orders.append(is_last(i[0]) and is_last(o)))
    audio, counts = batch(0)
    results = []
    for model, judge in (plain, fast):
        fake = model.decoder(model.quantizer(model.encoder(audio), counts).quantized_representation)
        loss = fake.square().mean() + sum(part[-1].mean() for part in judge(judge.views(fake)))
        parameters = [*model.encoder.parameters(), *model.decoder.parameters(), *judge.parameters()]
        results.append((fake, *torch.autograd.grad(loss, parameters)))
    assert orders
    assert all(orders)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * a.abs().max().item() + 1e-8)
    assert plain[0].state_dict().keys() == fast[0].state_dict().keys()
    assert type(fast[0].quantizer.quantizers[0].in_proj).__name__ == "ParametrizedConv1d"


def test_the_tail_stays_in_float32_under_bfloat16():
    model, _ = networks(SpeedConfig(float32_tail=True, channels_last=True))
    seen = {}
    for name, layer in model.decoder.named_modules():
        layer.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.dtype}))
    latents = torch.randn(2, MODEL.hidden_size, 10)
    with torch.autocast("cpu", torch.bfloat16):
        model.decoder(latents)
    last = f"block.{len(model.decoder.block) - 1}"
    assert seen["block.0.conv_t1"] == torch.bfloat16
    for name, dtype in seen.items():
        if name.startswith(last) or name == "conv2":
            assert dtype == torch.float32, name


def test_on_a_cpu_snake_is_not_fused():
    model, _ = networks(SpeedConfig(fused_snake=True))
    assert type(model.encoder.snake1) is Snake


def test_without_triton_a_fused_snake_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    monkeypatch.delitem(__import__("sys").modules, "dacodec.training.snake", raising=False)
    with pytest.raises(ConfigError, match="set it to false"):
        speed_up(DacModel(MODEL), None, SpeedConfig(fused_snake=True), torch.device("cuda"))


def test_cudnns_search_and_tf32_are_as_asked(tmp_path, monkeypatch):
    for name in ("benchmark", "benchmark_limit", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    launch(config(tmp_path, precision="bf16-mixed"))
    assert (torch.backends.cudnn.benchmark_limit, torch.backends.cudnn.allow_tf32) == (10, False)
    launch(config(tmp_path, precision="bf16-mixed", speed=SpeedConfig(cudnn_search=4, tf32=True)))
    assert (torch.backends.cudnn.benchmark_limit, torch.backends.cudnn.allow_tf32) == (4, True)


class Recorder:
    """A stand-in for CUDA: runs steps at once, and recorded steps only when they are replayed."""

    def __init__(self):
        self.n_run, self.recordings = 0, []

    def run(self, run):
        self.n_run += 1
        return run()

    def record(self, run):
        recorder = self

        class Recording:
            n_replayed = 0

            def replay(self):
                self.n_replayed += 1
                self.outcome = run()

        self.recordings.append(Recording())
        return recorder.recordings[-1]


def test_recorded_steps_are_the_steps(tmp_path):
    """Through all stages: every step is run or replayed once, on its own batch, and the run equals the eager one."""
    settings = config(
        tmp_path,
        step="split",
        balance=BalanceConfig(),
        latents=LatentsConfig(0.15, 0.1),
        codebooks=replace(FOLLOWING, initialise_step=5),
        schedule=ScheduleConfig(discriminator_start_step=10, adversarial_start_step=15),
    )
    eager, graphed = (make(settings, *networks(SpeedConfig())) for _ in range(2))
    recorder = Recorder()
    graphed.run = Graphed(graphed.compute, recorder)
    reports = []
    for number in range(21):
        audio, counts = batch(number)
        kept = audio.clone()
        both = [step(audio, counts, number, number / 100) for step in (eager, graphed)]
        assert torch.equal(audio, kept)
        assert both[0].keys() == both[1].keys()
        reports.append(both)
        assert [len(step.quantized) for step in (eager, graphed)] == [int(number >= 5)] * 2
        audio.zero_()  # the recording has its own memory
    for eager_report, report in reports:  # of much earlier steps: replays have not overwritten them
        for name, value in eager_report.items():
            torch.testing.assert_close(report[name], value, rtol=1e-5, atol=1e-7)
    assert recorder.n_run == 4 * WARM_UP
    assert [r.n_replayed for r in recorder.recordings] == [2, 2, 2, 3]
    for name, x in eager.model.state_dict().items():
        torch.testing.assert_close(graphed.model.state_dict()[name], x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "stage", [Stage(False, False, False), Stage(True, True, False), Stage(True, True, True)]
)
def test_a_step_looks_at_no_value(tmp_path, stage):
    """A graph requires that no value is read, and reading one would wait: tensors without values would make it fail."""
    settings = config(
        tmp_path,
        step="split",
        balance=BalanceConfig(),
        latents=LatentsConfig(0.15, 0.1),
        codebooks=FOLLOWING,
        max_skipped=3,
    )
    step = make(settings, *networks(SpeedConfig(channels_last=True)))
    audio, counts = batch(0)
    step.compute(audio, counts, stage)
    with FakeTensorMode(allow_non_fake_inputs=True):
        step.compute(audio, counts, stage)
        with pytest.raises(DataDependentOutputException):
            float(torch.ones(()) * 2)
