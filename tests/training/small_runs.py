"""Runs of a second or two: a tiny model, a tiny discriminator, tones and noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from dacodec.audio import write
from dacodec.config import DacConfig
from dacodec.training.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from dacodec.training.discriminators import DiscriminatorConfig

RATE = 8000
MODEL = DacConfig(
    encoder_hidden_size=4,
    downsampling_ratios=(4, 5),
    decoder_hidden_size=16,
    n_codebooks=3,
    codebook_size=16,
    codebook_dim=4,
    quantizer_dropout=0.5,
    sampling_rate=RATE,
)
DISCRIMINATOR = DiscriminatorConfig(periods=(2, 3), fft_sizes=(256,), width=0.05)


def make_audio(folder: Path) -> Path:
    """Three recordings of a second and a half in two pools."""
    random = np.random.default_rng(0)
    time = np.arange(12000) / RATE
    sounds = {
        "tones/a.wav": 0.3 * np.sin(2 * np.pi * 200 * time * (1 + time)),
        "tones/b.wav": 0.3 * np.sin(2 * np.pi * 900 * time) * np.exp(-3 * (time % 0.3)),
        "noise/c.wav": 0.1 * random.standard_normal(len(time)),
    }
    for name, samples in sounds.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, samples.astype(np.float32)[None], RATE)
    return folder


def config(tmp_path: Path, **changes) -> TrainConfig:
    audio = tmp_path / "audio"
    if not audio.exists():
        make_audio(audio)
    base = TrainConfig(
        model=MODEL,
        discriminator=DISCRIMINATOR,
        data=DataConfig(sources=[str(audio)], crop_seconds=0.12, workers=0, rescan_seconds=0),
        generator_optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=100),
        discriminator_optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=10),
        schedule=ScheduleConfig(warmup_steps=2),
        out=str(tmp_path / "run"),
        batch_size=4,
        steps=6,
        accelerator="cpu",
        tensorboard=False,
        log_steps=2,
    )
    return replace(base, **changes)


def losses(out: str | Path) -> list[dict]:
    """The lines of steps, without times."""
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "audio_per_second"} for row in rows if "event" not in row]


def events(out: str | Path, name: str) -> list[dict]:
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == name]
