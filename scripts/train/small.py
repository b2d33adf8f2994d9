"""Train a small built-in model on a CPU: reconstruction losses only, a budget of minutes.

    python scripts/train/prepare.py train_*.tar --out CACHE
    python scripts/train/small.py --cache CACHE --out RUN --minutes 95

Each process computes with one thread and they average their gradients once a step: on a machine that is
also used for other work this loses less than one process whose threads wait for each other at every layer. Snake and
the dilated convolutions are our own in C++ (fast_layers.py).

The run: first the autoencoder alone (no quantizer), then codebooks set from its latents, then the whole model
with quantizer dropout; codes that fall out of use are set to latents of the current batch. The learning
rate follows a cosine over the time budget, and an average of the weights (EMA) is what is saved.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from fast_layers import speed_up
from safetensors.torch import save_file
from torch import Tensor

from dacodec.checkpoint.weights import fold_weight_norm
from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.spectra import mel_distance

CONFIG = DacConfig(
    encoder_hidden_size=16,
    decoder_hidden_size=256,
    downsampling_ratios=(4, 4, 4, 8),
    n_codebooks=9,
    quantizer_dropout=0.25,
    sampling_rate=44100,
)
POOL_WEIGHTS = {
    "music": 0.27, "instruments": 0.14, "effects": 0.17, "speech48": 0.13, "speech44": 0.08,
    "speech24": 0.07, "speech22": 0.05, "speech16": 0.09,
}  # fmt: skip
CROP = 24576  # samples: 48 frames
PEAK_LR, WARMUP_STEPS = 4e-4, 100
AUTOENCODER_SHARE = 0.03  # of the time budget, before the quantizer comes in
LATENT_PENALTY = 0.05
MAX_GRAD_NORM = 250.0  # about the usual norm, so that single crops cannot throw the run
REVIVAL_STEPS, REVIVAL_SHARE, REVIVED_AT_ONCE = 300, 0.7, 64
MEL_WEIGHT, LEVEL_WEIGHT = 15.0, 10.0
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=95)
    parser.add_argument("--batch", type=int, default=1, help="crops a step and process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, help="weights to go on from, codebooks too")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    mp.spawn(train, (args,), nprocs=args.processes)


def train(rank: int, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)
    model = DacModel(CONFIG).train()
    if args.init:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(args.init))
    for module in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            # As the original: without it the gain of some thirty layers can run away within a few steps.
            torch.nn.utils.parametrizations.weight_norm(module)
    speed_up(model)
    torch.manual_seed(args.seed + 1 + rank)
    crops = Crops(args.cache, args.seed * 100 + rank)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    decay_free = [
        p for p in model.parameters() if p.ndim == 1 or p.numel() == p.shape[0] or "alpha" in _name(model, p)
    ]
    others = [p for p in model.parameters() if all(p is not q for q in decay_free)]
    optimizer = torch.optim.AdamW(
        [{"params": others}, {"params": decay_free, "weight_decay": 0.0}],
        lr=PEAK_LR, betas=(0.8, 0.99), weight_decay=0.01,
    )  # fmt: skip
    parameters = [*others, *decay_free]
    quantizing = bool(args.init)
    recent: deque[Tensor] = deque(maxlen=40)  # projected latents, to revive unused codes from
    used = torch.zeros(CONFIG.n_codebooks, CONFIG.codebook_size)
    begin, step, saved = time.monotonic(), 0, time.monotonic()
    log = (args.out / "log.jsonl").open("a") if rank == 0 else None

    while True:
        progress = _agree((time.monotonic() - begin) / (60 * args.minutes))
        if progress >= 1:
            break
        if not quantizing and progress > AUTOENCODER_SHARE:
            set_codebooks(model, crops)
            quantizing = True
            average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        rate = (
            PEAK_LR
            * min(1, (step + 1) / WARMUP_STEPS)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate

        audio = crops.batch(args.batch)
        latents = model.encoder(audio)
        codes, relative_error = None, 1.0
        if quantizing:
            quantized = model.quantizer(latents)
            codes = quantized.audio_codes
            quantizer_loss = 0.25 * quantized.commitment_loss + quantized.codebook_loss  # [B, K]
            quantizer_loss = (quantizer_loss * quantized.used).sum(1).mean()
            output = quantized.quantized_representation
            with torch.no_grad():
                relative_error = float((output - latents).pow(2).mean() / latents.pow(2).mean())
            decoded = model.decoder(output)
        else:
            quantizer_loss = LATENT_PENALTY * latents.pow(2).mean()
            decoded = model.decoder(latents)
        mel = mel_distance(decoded[:, 0], audio[:, 0], CONFIG.sampling_rate)
        level = level_distance(decoded[:, 0], audio[:, 0])
        loss = MEL_WEIGHT * mel + LEVEL_WEIGHT * level + quantizer_loss
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        norm = average_gradients(parameters)
        if math.isfinite(norm):
            optimizer.step()
        keep = min(KEEP, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in model.state_dict().items():
                average[key].lerp_(value, 1 - keep)
        if codes is not None:
            recent.append(quantized.projected_latents.detach())
            for i in range(codes.shape[1]):
                used[i] += torch.bincount(codes[:, i].flatten(), minlength=CONFIG.codebook_size)
            if step % REVIVAL_STEPS == REVIVAL_STEPS - 1:
                dist.all_reduce(used)
                dead = int((used == 0).sum())
                if progress < REVIVAL_SHARE:
                    revive(model, torch.cat([*recent], 2), used, average)
                used.zero_()
                if rank == 0:
                    print(f"step {step} unused codes {dead} of {used.numel()}", flush=True)
        if log and step % 10 == 0:
            row = {"step": step, "minutes": (time.monotonic() - begin) / 60, "mel": mel.item(), "level": level.item(), "norm": norm,
                   "quantizer": quantizer_loss.item(), "relative_error": relative_error, "power": latents.detach().pow(2).mean().item(), "lr": rate}  # fmt: skip
            log.write(json.dumps(row) + "\n")
            log.flush()
        step += 1
        if rank == 0 and time.monotonic() - saved > 120:
            save(average, args.out / "weights.safetensors")
            saved = time.monotonic()
    if rank == 0:
        save(average, args.out / "weights.safetensors")
        seconds = step * args.batch * args.processes * CROP / CONFIG.sampling_rate
        print(f"done: {step} steps, {seconds:.0f} s of audio seen", flush=True)
    dist.destroy_process_group()


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
def set_codebooks(model: DacModel, crops: Crops) -> None:
    """Data-driven start: each codebook becomes a sample of the latents that it is to code."""
    latents = torch.cat([model.encoder(crops.batch(4)) for _ in range(12)])  # [48, D, F]
    for q in model.quantizer.quantizers:
        flat = latents.transpose(1, 2).flatten(0, 1)  # [N, D]
        mean = flat.mean(0)
        directions = torch.linalg.eigh((flat - mean).t() @ (flat - mean)).eigenvectors
        basis = directions[:, -CONFIG.codebook_dim :]  # [D, d], the strongest
        q.in_proj.weight.copy_(basis.t()[:, :, None])
        q.in_proj.bias.copy_(-mean @ basis)
        q.out_proj.weight.copy_(basis[:, :, None])
        q.out_proj.bias.copy_(mean)
        projected = q.in_proj(latents)
        points = projected.transpose(1, 2).flatten(0, 1)  # [N, d]
        q.codebook.weight.copy_(points[torch.randperm(len(points))[: CONFIG.codebook_size]])
        for _ in range(4):  # k-means, by direction
            index = q.search(projected).flatten()
            count = torch.bincount(index, minlength=CONFIG.codebook_size)[:, None]
            sums = torch.zeros_like(q.codebook.weight).index_add_(0, index, points)
            q.codebook.weight.copy_(torch.where(count > 0, sums / count.clamp(1), q.codebook.weight))
        latents = latents - q.out_proj(q.embed(q.search(projected)))
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)


@torch.no_grad()
def revive(model: DacModel, projected: Tensor, used: Tensor, average: dict[str, Tensor]) -> None:
    """Set codes that nobody used, a few at a time, to projected latents of late [B, N * d, F]."""
    for i, (q, part) in enumerate(
        zip(model.quantizer.quantizers, projected.split(CONFIG.codebook_dim, 1), strict=True)
    ):
        dead = (used[i] == 0).nonzero()[:REVIVED_AT_ONCE, 0]
        candidates = part.transpose(1, 2).flatten(0, 1)
        chosen = candidates[torch.randint(len(candidates), (len(dead),))]
        # Codes are found by direction alone, so a revived one may not be larger than the others: it would be
        # taken for small latents of its direction too.
        usual = q.codebook.weight[used[i] > 0].norm(dim=1).median()
        q.codebook.weight[dead] = F.normalize(chosen, dim=1) * usual
        dist.broadcast(q.codebook.weight.data, 0)
        average[f"quantizer.quantizers.{i}.codebook.weight"][dead] = q.codebook.weight[dead]


def save(average: dict[str, Tensor], path: Path) -> None:
    temporary = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in fold_weight_norm(average).items()}, temporary)
    temporary.replace(path)


def _agree(value: float) -> float:
    """The first process's value, everywhere: clocks differ."""
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def _name(model: DacModel, parameter: Tensor) -> str:
    return next(name for name, p in model.named_parameters() if p is parameter)


if __name__ == "__main__":
    main()
