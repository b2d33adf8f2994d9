"""A training run from its config to its last weights: one process, several, or several machines.

Every ``log_steps`` steps the run pauses for what needs an answer from the device or agreement of all processes:
losses are read and checked, the clock is looked at, checkpoints are written, new data is taken in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from dacodec.checkpoint import DacModel as StoredModel
from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.config import DacConfig
from dacodec.errors import ConfigError, DacodecError, OutputError, TrainingError
from dacodec.files import refuse_same_file
from dacodec.model import DacModel
from dacodec.training.average import Average
from dacodec.training.checkpoints import (
    DISCRIMINATOR_FILE,
    LIGHT_FOLDER,
    load_checkpoint,
    load_discriminator,
    save_checkpoint,
    save_light,
)
from dacodec.training.codebooks import CodebookHealth, initialise_codebooks
from dacodec.training.config import (
    CONFIG_FILE,
    OptimizerConfig,
    TrainConfig,
    check_replaceable,
    save_config,
)
from dacodec.training.crops import batches
from dacodec.training.discriminators import Discriminator
from dacodec.training.feed import Feed
from dacodec.training.lock import lock
from dacodec.training.log import RunLog
from dacodec.training.sources import Unit
from dacodec.training.step import Autoencoder, TrainingStep, draw_codebooks
from dacodec.training.timing import Clock, StopSignals
from dacodec.training.validation import Validator
from dacodec.training.weight_norm import add_weight_norm, folded_state, load_folded

INITIAL_CROPS = 48  # that the first codebooks are made of


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Args:
        model: folder with the last weights.
        step: the next step, if it went on.
        audio_seconds: of audio seen.
        reason: why it ended.
    """

    model: Path
    step: int
    audio_seconds: float
    reason: str


def fit(config: TrainConfig) -> Result:
    """Train as ``config`` says; goes on where the run in ``config.out`` stands, if there is one.

    SIGTERM and SIGINT end the run cleanly, with everything saved.

    Raises:
        ConfigError: for settings that contradict each other or this machine.
        TrainingError: if a loss is not a number, the run in the folder is of another shape, or another process
            is training in the folder.
        OutputError: if the folder cannot be written, or the run's files would replace those it begins from.
    """
    begin = time.monotonic()
    fabric = _launch(config)
    held = _reserve(fabric, Path(config.out))
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


def _reserve(fabric: Any, folder: Path) -> TextIO | None:
    """The run's folder, locked by the first process; all of them fail if it is not to be had."""
    held: TextIO | None = None
    problem: Exception | None = None
    if fabric.is_global_zero:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = lock(folder)
            check_replaceable(folder / CONFIG_FILE)
        except OSError as error:
            problem = OutputError(f"cannot train in {folder}: {error.strerror or error}")
        except DacodecError as error:
            problem = error
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem
    return held


def _launch(config: TrainConfig) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise ConfigError("training needs more packages: pip install dacodec[train]") from error
    if config.deterministic:
        torch.use_deterministic_algorithms(True)
    alone = config.devices == config.num_nodes == 1
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="auto" if alone else "ddp",
    )
    fabric.launch()
    if config.batch_size % (fabric.world_size * config.accumulate):
        raise ConfigError(
            f"batch_size {config.batch_size} must be a multiple of {fabric.world_size} processes times "
            f"{config.accumulate} parts"
        )
    # All crops have one length, so it pays to look for the fastest convolutions.
    torch.backends.cudnn.benchmark = not config.deterministic
    if config.precision == "bf16-mixed":
        # What is left in float32 is meant so: the quantizer's projections decide about codes.
        torch.backends.cudnn.allow_tf32 = False
    return fabric


class _Run:
    """Everything that a run holds."""

    def __init__(self, fabric: Any, config: TrainConfig, begin: float) -> None:
        self.fabric, self.config, self.begin = fabric, config, begin
        self.out = Path(config.out)
        stored = load_checkpoint(self.out / "checkpoints")
        self.step = stored["step"] if stored else 0

        self.model, self.judge = self._networks(stored)
        self.shape = self.model.config
        self.feed = Feed(fabric, config, self.shape, stored["units"] if stored else [])
        add_weight_norm(self.model)
        self.health = CodebookHealth(self.shape, fabric.device)
        self.training_step = self._training_step()
        self.average = Average(self.model, config.ema_decay)
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

    # Setting up

    def _networks(self, stored: dict[str, Any] | None) -> tuple[DacModel, Discriminator | None]:
        config = self.config
        torch.manual_seed(config.seed)  # of the initial weights; nothing later draws from it
        model: DacModel
        if config.init and stored is None:
            refuse_same_file(config.init, self.out / LIGHT_FOLDER)
            model = StoredModel.from_pretrained(config.init, config=config.model).train()
        elif config.model is not None:
            model = DacModel(config.model).train()
        elif stored is not None:
            model = DacModel(DacConfig.from_dict(stored["config"])).train()
        else:
            raise ConfigError("give the shape of a new model, or init to begin from one")
        if config.discriminator is None:
            return model, None
        judge = Discriminator(config.discriminator)
        if stored is None:
            self._init_discriminator(judge)
        return model, judge

    def _init_discriminator(self, judge: Discriminator) -> None:
        path = self.config.init_discriminator
        if path == "auto":
            beside = Path(self.config.init) / DISCRIMINATOR_FILE if self.config.init else None
            if beside is None or not beside.is_file():
                return
            path = str(beside)
        if path:
            refuse_same_file(path, self.out / LIGHT_FOLDER / DISCRIMINATOR_FILE)
            shape, tensors = load_discriminator(Path(path))
            if shape != judge.config:
                raise ConfigError(
                    f"the discriminator in {path} has the shape {shape}; set discriminator to it"
                )
            load_folded(judge, tensors, path)

    def _training_step(self) -> TrainingStep:
        config, fabric = self.config, self.fabric
        autocast = torch.autocast(
            fabric.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"
        )
        if config.compile:
            judges = self.judge.discriminators if self.judge else ()
            for network in (self.model.encoder, self.model.decoder, *judges):
                network.compile()
        generator = Autoencoder(self.model, autocast)
        optimizer = _optimizer(generator, config.generator_optimizer, fabric.device)
        generator, optimizer = fabric.setup(generator, optimizer)
        judged: dict[str, Any] = {}
        if self.judge is not None:
            add_weight_norm(self.judge)
            its_optimizer = _optimizer(self.judge, config.discriminator_optimizer, fabric.device)
            discriminator, its_optimizer = fabric.setup(self.judge, its_optimizer)
            judged = {
                "discriminator": discriminator,
                "discriminator_optimizer": its_optimizer,
                "judge": self.judge,
            }
        return TrainingStep(
            fabric, config, generator, optimizer, self.shape.sampling_rate, autocast, **judged
        )

    def _restore(self, stored: dict[str, Any]) -> None:
        if stored["config"] != _shape(self.shape) or (stored["discriminator"] is None) != (
            self.judge is None
        ):
            raise TrainingError(
                f"the run in {self.out} is of another shape than its config now says; give another out"
            )
        step = self.training_step
        self.model.load_state_dict(stored["model"])
        step.generator_optimizer.load_state_dict(stored["generator_optimizer"])
        if self.judge is not None:
            self.judge.load_state_dict(stored["discriminator"])
            step.discriminator_optimizer.load_state_dict(stored["discriminator_optimizer"])
        self.average.load_state_dict(stored["average"])
        self.health.load_state_dict(stored["health"])

    # Running

    def train(self, stop: StopSignals) -> Result:
        config, fabric = self.config, self.fabric
        reports: list[dict[str, Tensor]] = []
        rates: list[float] = []
        clock = Clock()
        loader = self._batches()
        progress: float = fabric.broadcast(self._progress())  # clocks differ; learning rates may not
        reason: str = fabric.broadcast(self._reason_to_stop(stop))
        if reason:  # a run that was at its end already
            self._save()
        while not reason:
            rates.append(self._set_learning_rates(progress))
            reports.append(self._next_step(loader, progress))
            if self.step % config.log_steps and self.step != config.steps:
                continue
            self._report(reports, rates, clock, progress)
            reports, rates = [], []
            progress, minutes, reason, new_data = fabric.broadcast(
                (self._progress(), self._minutes(), self._reason_to_stop(stop), self.feed.newer())
            )
            if new_data:
                loader = self._take_in(new_data)
            if reason or clock.due("checkpoint", config.checkpoint_minutes, minutes):
                self._save()
            if reason or clock.due("validation", config.validate_minutes, minutes):
                self._validate()
        samples = self.step * config.batch_size * self.feed.crop_length
        return Result(self.out / LIGHT_FOLDER, self.step, samples / self.shape.sampling_rate, reason)

    def _set_learning_rates(self, progress: float) -> float:
        factor = learning_rate_factor(self.step, progress, self.config)
        step, config = self.training_step, self.config
        for optimizer, its in (
            (step.generator_optimizer, config.generator_optimizer),
            (step.discriminator_optimizer, config.discriminator_optimizer),
        ):
            for group in optimizer.param_groups if optimizer is not None else ():
                group["lr"] = factor * its.learning_rate
        return factor

    def _next_step(self, loader: Iterator[Tensor], progress: float) -> dict[str, Tensor]:
        """One step, and what follows from it for the average and the codebooks."""
        config, fabric = self.config, self.fabric
        if self.step and self.step == config.codebooks.initialise_step and not config.init:
            self._initialise_codebooks()
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
        report = self.training_step(audio, counts, self.step)
        self.average.update()
        for quantized in self.training_step.quantized:
            self.health.observe(quantized)
        self.step += 1
        if config.codebooks.revive_steps and self.step % config.codebooks.revive_steps == 0:
            self._look_after_codebooks(progress)
        return report

    def _take_in(self, units: list[Unit]) -> Iterator[Tensor]:
        self.feed.take_in(units)
        if self.log:
            self.log.event(self.step, "data", {"sources": self.feed.describe()})
        return self._batches()

    def _batches(self) -> Iterator[Tensor]:
        return batches(
            self.feed.crops(self.config.seed),
            first_step=self.step,
            batch_size=self.config.batch_size,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            workers=self.config.data.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def _minutes(self) -> float:
        return (time.monotonic() - self.begin) / 60

    def _progress(self) -> float:
        """Share of the run that is done, by steps or by the clock, whichever is further."""
        by_steps = self.step / self.config.steps if self.config.steps else 0.0
        by_clock = self._minutes() / self.config.max_minutes if self.config.max_minutes else 0.0
        return min(1.0, max(by_steps, by_clock))

    def _reason_to_stop(self, stop: StopSignals) -> str:
        if stop.received:
            return f"stopped by {stop.received}"
        if self.config.steps is not None and self.step >= self.config.steps:
            return f"{self.config.steps} steps done"
        if self.config.max_minutes is not None and self._minutes() >= self.config.max_minutes:
            return f"{self.config.max_minutes:g} minutes are over"
        return ""

    def _report(
        self, reports: list[dict[str, Tensor]], rates: list[float], clock: Clock, progress: float
    ) -> None:
        """Read the losses of the last steps, check and log them."""
        names = list(dict.fromkeys(name for report in reports for name in report))
        nothing = torch.full((), -1.0, device=self.fabric.device)
        table = torch.stack([torch.stack([r.get(n, nothing).float() for n in names]) for r in reports])
        values = self.fabric.all_reduce(table, reduce_op="mean").tolist()  # the one wait for the device
        seconds = clock.lap()
        audio = len(reports) * self.config.batch_size * self.feed.crop_length / self.shape.sampling_rate
        rows = []
        for i, (report, row) in enumerate(zip(reports, values, strict=True)):
            number = self.step - len(reports) + i
            losses = {n: v for n, v in zip(names, row, strict=True) if n in report}
            for name, value in losses.items():
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{name} is {value} at step {number}; resume from the last checkpoint with a lower "
                        "learning_rate or max_grad_norm, or another seed"
                    )
            rows.append(
                {
                    "step": number,
                    **losses,
                    "learning_rate_factor": rates[i],
                    "audio_per_second": audio / seconds,
                }
            )
        if self.log:
            self.log.steps(rows, progress)

    @torch.no_grad()
    def _initialise_codebooks(self) -> None:
        """All processes find the same, from the same crops."""
        crops = self.feed.crops(seed=self.config.seed + 1)
        audio = torch.stack([torch.from_numpy(crops[i]) for i in range(INITIAL_CROPS)])[:, None]
        parts = torch.split(audio.to(self.fabric.device), 8)
        initialise_codebooks(
            self.model, torch.cat([self.model.encoder(part) for part in parts]), self.config.seed
        )
        # What the optimiser and the average remember is of other codebooks.
        for parameter in self.model.quantizer.parameters():
            for tensor in self.training_step.generator_optimizer.state[parameter].values():
                tensor.zero_()
        for name, tensor in self.model.state_dict().items():
            if name.startswith("quantizer."):
                self.average.tensors[name].copy_(tensor)

    def _look_after_codebooks(self, progress: float) -> None:
        health, config = self.health, self.config.codebooks
        health.counts.copy_(self.fabric.all_reduce(health.counts, reduce_op="sum"))
        usage = health.usage()
        if self.log:
            self.log.event(self.step, "codebooks", usage._asdict())
        if progress < config.revive_until:
            revived = health.revive(self.model, config.revive_at_once, self.config.seed + self.step)
            for i, (quantizer, rows) in enumerate(zip(self.model.quantizer.quantizers, revived, strict=True)):
                weight = quantizer.codebook.weight.detach()
                weight.copy_(self.fabric.broadcast(weight))
                self.average.tensors[f"quantizer.quantizers.{i}.codebook.weight"][rows] = weight[rows]
        health.reset_counts()

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
        step, judge = self.training_step, self.judge
        state = {
            "step": self.step,
            "config": _shape(self.shape),
            "units": self.feed.keys,
            "model": self.model.state_dict(),
            "discriminator": judge.state_dict() if judge else None,
            "generator_optimizer": step.generator_optimizer.state_dict(),
            "discriminator_optimizer": step.discriminator_optimizer.state_dict() if judge else None,
            "average": self.average.state_dict(),
            "health": self.health.state_dict(),
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


def learning_rate_factor(step: int, progress: float, config: TrainConfig) -> float:
    """What the learning rates are multiplied by; ``progress`` is the share of the run that is done."""
    schedule = config.schedule
    warmup = min(1.0, (step + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    if schedule.decay == "exponential":
        return float(warmup * schedule.gamma**step)
    along = schedule.begin + (schedule.end - schedule.begin) * progress
    return warmup * (
        schedule.final_share + (1 - schedule.final_share) * 0.5 * (1 + math.cos(math.pi * along))
    )


def _optimizer(network: torch.nn.Module, config: OptimizerConfig, device: torch.device) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=device.type == "cuda",
    )


def _shape(config: DacConfig) -> dict[str, Any]:
    """The config as plain values, without what Hugging Face keeps beside it."""
    values = {f.name: getattr(config, f.name) for f in fields(DacConfig) if f.name != "extra"}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
