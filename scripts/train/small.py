"""Train a small built-in model on a CPU: reconstruction losses only, minutes by a schedule.

    python scripts/train/prepare.py train_*.tar --out CACHE
    python scripts/train/small.py --cache CACHE --out RUN --schedule scripts/train/small-2.json --init WEIGHTS

Each process computes with one thread and they average their gradients once a step: on a machine that is
also used for other work this loses less than one process whose threads wait for each other at every layer. Snake and
the dilated convolutions are our own in C++ (fast_layers.py).

The schedule is a list of moments: the minute, the learning rate, the weights of the losses (all linear from moment to
moment; the last is the end), and whether the quantizer is fitted to the latents then. The quantizer is not trained by
gradients: nine codebooks found that way left up to nine times the error of fitted ones. Without --init the
autoencoder goes alone until the first fit. Codes that fall out of use are set to recent latents. An average of the
weights (EMA) is what is saved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from fast_layers import speed_up
from safetensors.torch import load_file, save_file
from torch import Tensor

from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.model.quantizer import Quantized
from dacodec.spectra import MEL_FLOOR, MEL_SCALES, mel_spectrum
from dacodec.training.codebooks import CodebookHealth, initialise_codebooks

CONFIG = DacConfig(
    encoder_hidden_size=16,
    decoder_hidden_size=256,
    downsampling_ratios=(4, 4, 4, 8),
    n_codebooks=9,
    quantizer_dropout=0.25,
    sampling_rate=44100,
)
POOL_WEIGHTS = {
    "music": 0.27,
    "instruments": 0.14,
    "effects": 0.17,
    "speech48": 0.13,
    "speech44": 0.08,
    "speech24": 0.07,
    "speech22": 0.05,
    "speech16": 0.09,
}
CROP = 24576  # samples: 48 frames
WARMUP_STEPS = 100
LATENT_PENALTY, COMMITMENT = 0.05, 0.05
MAX_GRAD_NORM = 250.0  # about the usual norm, so that single crops cannot throw the run
REVIVAL_STEPS, REVIVAL_RATE, REVIVED_AT_ONCE = 300, 5e-5, 64  # not below that learning rate
FIT_BATCHES = 60  # of four crops, a process
LEVEL_WINDOW = 4096  # samples
KEEP = 0.999  # of the weights' average, a step


class Crops:
    """Random crops of pools of audio, drawn by weight; quiet ones are drawn again, up to 8 times."""

    def __init__(self, cache: Path, seed: int) -> None:
        self.pools = {name: [] for name in POOL_WEIGHTS}
        for path in sorted(cache.glob("train_*.npz")):
            name = path.name.split(".")[1]
            with np.load(path) as stored:
                audio, lengths = stored["audio"], stored["lengths"]
            self.pools[name] += np.split(audio, np.cumsum(lengths)[:-1])
        self.pools = {name: clips for name, clips in self.pools.items() if clips}
        weights = np.array([POOL_WEIGHTS[name] for name in self.pools])
        self.weights = weights / weights.sum()
        self.shares = {
            n: np.array([len(c) for c in clips]) / sum(map(len, clips)) for n, clips in self.pools.items()
        }
        self.random = np.random.default_rng(seed)

    def batch(self, size: int) -> Tensor:
        return torch.from_numpy(np.stack([self.crop() for _ in range(size)]))[:, None]

    def crop(self) -> np.ndarray:
        for _ in range(8):
            name = self.random.choice(list(self.pools), p=self.weights)
            clip = self.pools[name][self.random.choice(len(self.pools[name]), p=self.shares[name])]
            start = self.random.integers(0, max(1, len(clip) - CROP + 1))
            audio = clip[start : start + CROP].astype(np.float32) / 32768
            if np.sqrt(np.mean(audio**2)) > 10 ** (-40 / 20):
                break
        return np.pad(audio, (0, CROP - len(audio)))


class Moment(NamedTuple):
    """What the schedule says."""

    rate: float
    mel: float
    loud: float
    level: float
    wave: float
    ended: float  # 0 or 1
    fit: float  # 0 or 1, once


class Schedule:
    """The file is read again and again, so that a run can be steered."""

    def __init__(self, path: Path) -> None:
        self.path, self.fitted = path, set[float]()
        self.begin = time.monotonic()

    @property
    def minute(self) -> float:
        return (time.monotonic() - self.begin) / 60

    def now(self) -> Moment:
        """The first process's, everywhere: clocks differ."""
        minute, moments = self.minute, json.loads(self.path.read_text())
        minutes = [m["minute"] for m in moments]
        fits = {m["minute"] for m in moments if m.get("fit") and m["minute"] <= minute} - self.fitted
        self.fitted |= fits
        values = [np.interp(minute, minutes, [m[name] for m in moments]) for name in Moment._fields[:-2]]
        shared = torch.tensor([*values, minute >= minutes[-1], bool(fits)], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return Moment(*shared.tolist())


class Losses(NamedTuple):
    mel: Tensor
    loud: Tensor
    level: Tensor
    wave: Tensor
    quantizer: Tensor
    quantized: Quantized | None

    def total(self, weights: Moment) -> Tensor:
        spectral = weights.mel * self.mel + weights.loud * self.loud + weights.level * self.level
        return spectral + weights.wave * self.wave + self.quantizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--schedule", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=1, help="crops a step and process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, help="weights to go on from")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    mp.spawn(train, (args,), nprocs=args.processes)


def train(rank: int, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)
    model = build(args.init)
    torch.manual_seed(args.seed + 1 + rank)
    crops = Crops(args.cache, args.seed * 100 + rank)
    optimizer = make_optimizer(model)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    quantizing, schedule = args.init is not None, Schedule(args.schedule)
    health = CodebookHealth(CONFIG, torch.device("cpu"))
    log = Log(args.out) if rank == 0 else None

    for step in itertools.count():
        moment = schedule.now()
        if moment.ended:
            break
        if moment.fit:
            fit_quantizer(model, crops, average)
            quantizing, health = True, CodebookHealth(CONFIG, torch.device("cpu"))
        rate = moment.rate * min(1, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = forward(model, crops.batch(args.batch), quantizing)
        optimizer.zero_grad(set_to_none=False)
        losses.total(moment).backward()
        norm = average_gradients(parameters)
        if math.isfinite(norm):
            optimizer.step()
        follow(average, model, step)
        if losses.quantized is not None:
            health.observe(losses.quantized)
            if step % REVIVAL_STEPS == REVIVAL_STEPS - 1 and rate > REVIVAL_RATE:
                unused = revive(model, health, average, step)
                if log:
                    log.event(step, unused=unused)
        if log:
            log.step(step, schedule.minute, losses, norm, rate)
            log.save(average, 120)
    if log:
        log.save(average, 0)
        seconds = step * args.batch * args.processes * CROP / CONFIG.sampling_rate
        log.event(step, seconds_of_audio=seconds)
    dist.destroy_process_group()


def build(weights: Path | None) -> DacModel:
    model = DacModel(CONFIG).train()
    if weights:
        model.load_state_dict(load_file(weights))
    for module in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            # As the original: without it the gain of some thirty layers can run away within a few steps.
            torch.nn.utils.parametrizations.weight_norm(module)
    speed_up(model)
    model.quantizer.requires_grad_(False)
    return model


def make_optimizer(model: DacModel) -> torch.optim.AdamW:
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    free = [p for n, p in trained.items() if p.ndim == 1 or p.numel() == p.shape[0] or "alpha" in n]
    decayed = [p for p in trained.values() if all(p is not q for q in free)]
    groups = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.8, 0.99), weight_decay=0.01)


def forward(model: DacModel, audio: Tensor, quantizing: bool) -> Losses:
    """The losses for ``audio`` [B, 1, T]."""
    latents = model.encoder(audio)
    quantized = model.quantizer(latents) if quantizing else None
    if quantized is None:
        penalty = LATENT_PENALTY * latents.pow(2).mean()
        decoded = model.decoder(latents)
    else:
        penalty = COMMITMENT * (quantized.commitment_loss * quantized.used).sum(1).mean()
        decoded = model.decoder(quantized.quantized_representation)
    pair = decoded[:, 0], audio[:, 0]
    return Losses(*mel_distances(*pair), level_distance(*pair), waveform_distance(*pair), penalty, quantized)


@torch.no_grad()
def follow(average: dict[str, Tensor], model: DacModel, step: int) -> None:
    keep = min(KEEP, (1 + step) / (10 + step))
    for key, value in model.state_dict().items():
        average[key].lerp_(value, 1 - keep)


def mel_distances(decoded: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """The mel distance, and the same with bins weighted by the root of the original's magnitude; both [B, T].

    Of the mel distance's gradient nine tenths come from bins 60 dB and more below the loud ones, which make up half
    of its value.
    """
    plain = loud = decoded.new_zeros(())
    for window, n_mels in MEL_SCALES:
        wanted, given = (
            mel_spectrum(x, CONFIG.sampling_rate, window, n_mels).clamp(MEL_FLOOR) for x in (audio, decoded)
        )
        error = (given.log10() - wanted.log10()).abs()
        plain = plain + error.mean()
        weight = wanted.sqrt()
        loud = loud + (error * weight / weight.mean((1, 2), keepdim=True)).mean()
    return plain, loud


def waveform_distance(decoded: Tensor, audio: Tensor) -> Tensor:
    """Mean difference of the samples, relative to the recording's mean; both [B, T]."""
    return ((decoded - audio).abs().mean(1) / audio.abs().mean(1).clamp(min=1e-3)).mean()


def level_distance(decoded: Tensor, audio: Tensor) -> Tensor:
    """Mean difference of the power of pieces of 93 ms, in bels; both [B, T].

    The mel distance alone leaves levels free: small-1 was off by 6 dB in the mean.
    """
    decoded_power, power = (
        F.avg_pool1d(x[:, None] ** 2, LEVEL_WINDOW, LEVEL_WINDOW // 2).clamp(min=1e-7).log10()
        for x in (decoded, audio)
    )
    return (decoded_power - power).abs().mean()


def average_gradients(parameters: list[Tensor]) -> float:
    """Mean gradient over the processes, clipped; returns the norm."""
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    norm = float(flat.norm())
    flat *= min(1.0, MAX_GRAD_NORM / (norm + 1e-6))
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)
    return norm


@torch.no_grad()
def fit_quantizer(model: DacModel, crops: Crops, average: dict[str, Tensor]) -> None:
    """Codebooks and their projections that fit the latents of crops of all processes."""
    latents = torch.cat([model.encoder(crops.batch(4)) for _ in range(FIT_BATCHES)])  # [B, D, F]
    everyone = [torch.empty_like(latents) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, latents)
    if dist.get_rank() == 0:
        initialise_codebooks(model, torch.cat(everyone), seed=0)
    share_quantizer(model, average)


@torch.no_grad()
def revive(model: DacModel, health: CodebookHealth, average: dict[str, Tensor], step: int) -> int:
    """Set unused codes, some at a time, to recent latents, and count anew; returns how many were unused."""
    dist.all_reduce(health.counts)
    unused = int((health.counts == 0).sum())
    health.revive(model, REVIVED_AT_ONCE, seed=step)
    share_quantizer(model, average)
    health.reset_counts()
    return unused


def share_quantizer(model: DacModel, average: dict[str, Tensor]) -> None:
    """The first process's, everywhere, and in the average as it is: it does not move from step to step."""
    for name, tensor in model.quantizer.state_dict().items():
        dist.broadcast(tensor, 0)
        average[f"quantizer.{name}"].copy_(tensor)


class Log:
    """What a run leaves: lines of JSON, and its weights every now and then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved = folder, time.monotonic()
        self.lines = (folder / "log.jsonl").open("a")

    def event(self, step: int, **values: float) -> None:
        self.lines.write(json.dumps({"step": step, **values}) + "\n")
        self.lines.flush()

    def step(self, step: int, minute: float, losses: Losses, norm: float, rate: float) -> None:
        if step % 10 == 0:
            values = {k: v.item() for k, v in losses._asdict().items() if k != "quantized"}
            self.event(step, minutes=minute, norm=norm, rate=rate, **values)

    def save(self, average: dict[str, Tensor], seconds: float) -> None:
        """If the last time is so long ago."""
        if time.monotonic() - self.saved >= seconds:
            path = self.folder / "weights.safetensors"
            temporary = path.with_suffix(".part")
            save_file({k: v.contiguous() for k, v in fold_weight_norm(average).items()}, temporary)
            temporary.replace(path)
            self.saved = time.monotonic()


if __name__ == "__main__":
    main()
