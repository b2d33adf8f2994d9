"""A training run from its config to its final weights: one process, several, or several machines.

Every ``log_steps`` steps the run pauses for everything that needs an answer from the device or agreement among
processes: it reads and checks the losses, looks at the clock, writes checkpoints and takes in new data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.config import DacConfig
from dacodec.errors import TrainingError
from dacodec.training.average import Average
from dacodec.training.care import CodebookCare
from dacodec.training.checkpoints import LIGHT_FOLDER, load_checkpoint, save_checkpoint, save_light
from dacodec.training.config import CONFIG_FILE, TrainConfig, save_config
from dacodec.training.feed import Feed
from dacodec.training.launch import launch, reserve
from dacodec.training.log import RunLog
from dacodec.training.networks import make_networks, make_step
from dacodec.training.reports import Reports
from dacodec.training.scale import start_in_scale
from dacodec.training.schedule import Budget, learning_rate_factor
from dacodec.training.sources import Unit
from dacodec.training.step import draw_codebooks
from dacodec.training.timing import Clock, StopSignals
from dacodec.training.validation import Validator
from dacodec.training.weight_norm import folded_state

SCALED_CROPS = 16  # for scaled initialisation


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Args:
        model: folder with the final weights.
        step: the next step, if the run continued.
        audio_seconds: seconds of audio seen.
        reason: why it ended.
    """

    model: Path
    step: int
    audio_seconds: float
    reason: str


def fit(config: TrainConfig) -> Result:
    """Train as configured, resuming the run in ``config.out`` if there is one.

    SIGTERM and SIGINT end the run cleanly, with everything saved.

    Raises:
        ConfigError: for settings that contradict each other or this machine.
        TrainingError: if a loss is not finite, the run in the folder has another shape, or another process is training
            in the folder.
        OutputError: if the folder cannot be written, or the run would overwrite the files that it starts from.
    """
    begin = time.monotonic()
    fabric = launch(config)
    held = reserve(fabric, Path(config.out))
    try:
        run = _Run(fabric, config, begin)
        try:
            with StopSignals() as stop:
                return run.train(stop)
        finally:
            run.close()
    finally:
        if held is not None:
            held.close()


class _Run:
    """Everything that belongs to a run."""

    def __init__(self, fabric: Any, config: TrainConfig, begin: float) -> None:
        self.fabric, self.config = fabric, config
        self.out = Path(config.out)
        stored = load_checkpoint(self.out / "checkpoints")
        self.step = stored["step"] if stored else 0
        self.budget = Budget(config, begin, stored.get("minutes", 0.0) if stored else 0.0)

        self.model, self.judge = make_networks(config, stored)
        self.shape = self.model.config
        self.feed = Feed(fabric, config, self.shape, stored["units"] if stored else [])
        if config.start == "scaled" and stored is None and not config.init:
            start_in_scale(self.model.to(fabric.device), self.feed.some(0, SCALED_CROPS))
        self.training_step = make_step(fabric, config, self.model, self.judge)
        set_now_and_then = "-" if config.codebooks.trained else "quantizer."
        self.average = Average(self.model, config.ema_decay, set_now_and_then)
        self.care = CodebookCare(
            fabric,
            config,
            self.model,
            self.average,
            self.feed.some,
            self.training_step.autocast,
            self.training_step.optimizers["generator_optimizer"].state,
            self.training_step.codes,
        )
        self.reports = Reports(fabric, config.max_skipped)
        if stored is not None:
            self._restore(stored)
        self.validator = Validator(self.feed.validation(), self.shape, fabric.device)

        self.log: RunLog | None = None
        if fabric.is_global_zero:
            save_config(replace(config, model=self.shape), self.out / CONFIG_FILE)
            self.log = RunLog(self.out, self.step, config.tensorboard)
            self.log.say(self.feed.describe())
            for problem in self.feed.problems:
                self.log.say(f"skipped {problem.name}: {problem.reason}")

    @property
    def _parts(self) -> dict[str, Any]:
        """Everything stateful, by its name in a checkpoint."""
        parts = {"model": self.model, "average": self.average, "care": self.care, "reports": self.reports}
        parts |= {"discriminator": self.judge} if self.judge else {}
        return parts | self.training_step.optimizers | self.training_step.parts

    def _restore(self, stored: dict[str, Any]) -> None:
        if stored["config"] != _shape(self.shape) or stored.get("parts") != sorted(self._parts):
            raise TrainingError(
                f"the run in {self.out} has another shape than the config; choose another out"
            )
        for name, part in self._parts.items():
            part.load_state_dict(stored[name])

    def train(self, stop: StopSignals) -> Result:
        config, feed = self.config, self.feed
        clock = Clock()
        loader = feed.batches(self.step)
        progress, minutes, reason, new_data = self._look(stop)
        if reason:  # the run had already ended
            self._save()
        while not reason:
            self._next_step(loader, progress)
            if self.step % config.log_steps and self.step != config.steps:
                continue
            self._report(clock, progress)
            progress, minutes, reason, new_data = self._look(stop)
            if new_data:
                loader = self._take_in(new_data)
            if reason or clock.due("checkpoint", config.checkpoint_minutes, minutes):
                self._save()
            if reason or clock.due("validation", config.validate_minutes, minutes):
                self._validate()
        samples = self.step * config.batch_size * feed.crop_length
        return Result(self.out / LIGHT_FOLDER, self.step, samples / self.shape.sampling_rate, reason)

    def _look(self, stop: StopSignals) -> tuple[float, float, str, list[Unit]]:
        """The first process's progress, minutes, reason to stop and new data: clocks differ, but steps must not."""
        budget = self.budget
        reason = f"stopped by {stop.received}" if stop.received else budget.reason_to_stop(self.step)
        seen = (budget.progress(self.step), budget.minutes(), reason, self.feed.newer())
        return self.fabric.broadcast(seen)  # type: ignore[no-any-return]

    def _next_step(self, loader: Iterator[Tensor], progress: float) -> None:
        """One step, then the average of the weights and the codebooks."""
        config, fabric = self.config, self.fabric
        self.care.fit_if_due(self.step, progress)
        factor = self._set_learning_rates(progress)
        audio = next(loader).to(fabric.device, non_blocking=True)
        counts = draw_codebooks(
            self.step,
            config.seed,
            config.batch_size,
            self.shape.n_codebooks,
            self.shape.quantizer_dropout,
            fabric.global_rank,
            fabric.world_size,
        ).to(fabric.device, non_blocking=True)
        self.reports.add(self.training_step(audio, counts, self.step, progress), factor)
        self.average.update()
        for quantized in self.training_step.quantized:
            self.care.health.observe(quantized)
        self.step += 1
        usage = self.care.revive_if_due(self.step, progress)
        if usage is not None and self.log:
            self.log.event(self.step, "codebooks", usage._asdict())

    def _set_learning_rates(self, progress: float) -> float:
        factor = learning_rate_factor(self.step, progress, self.config)
        for name, optimizer in self.training_step.optimizers.items():
            rate = factor * getattr(self.config, name).learning_rate
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        return factor

    def _take_in(self, units: list[Unit]) -> Iterator[Tensor]:
        self.feed.take_in(units)
        if self.log:
            self.log.event(self.step, "data", {"sources": self.feed.describe()})
        return self.feed.batches(self.step)

    def _report(self, clock: Clock, progress: float) -> None:
        """Read, check and log the losses of the last steps."""
        rows = self.reports.read(self.step)
        audio = len(rows) * self.config.batch_size * self.feed.crop_length / self.shape.sampling_rate
        speed = audio / clock.lap()
        if self.log:
            self.log.steps([{**row, "audio_per_second": speed} for row in rows], progress)

    def _validate(self) -> None:
        if not self.fabric.is_global_zero or self.log is None:
            return
        mel, pairs = self.validator(self._averaged())
        if mel is not None:
            self.log.event(self.step, "validation", {"mel": mel})
        for i, (reference, decoded) in enumerate(pairs):
            self.log.audio(self.step, f"original/{i}", reference, self.shape.sampling_rate)
            self.log.audio(self.step, f"decoded/{i}", decoded, self.shape.sampling_rate)

    def _averaged(self) -> dict[str, Tensor]:
        return fold_weight_norm(self.average.tensors)

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        judge = self.judge
        state = {
            "step": self.step,
            "minutes": self.budget.minutes(),
            "config": _shape(self.shape),
            "units": self.feed.keys,
            "parts": sorted(self._parts),
            **{name: part.state_dict() for name, part in self._parts.items()},
        }
        save_checkpoint(self.out / "checkpoints", self.step, state, self.config.keep_checkpoints)
        save_light(
            self.out / LIGHT_FOLDER,
            self.shape,
            self._averaged(),
            judge.config if judge else None,
            folded_state(judge) if judge else None,
        )

    def close(self) -> None:
        self.feed.close()
        if self.log:
            self.log.close()


def _shape(config: DacConfig) -> dict[str, Any]:
    """The config as plain values, without Hugging Face's additional keys."""
    values = {f.name: getattr(config, f.name) for f in fields(DacConfig) if f.name != "extra"}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
