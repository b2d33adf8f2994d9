"""Tiny versions of the files and folders that the documentation's commands name."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from documented import ROOT, STAND_INS
from models import save_model

from dacodec import Codec, DacModel
from dacodec.audio import read, resample, write
from dacodec.checkpoint.descript import layer_names
from dacodec.corpus.tokenizing import tokenize
from dacodec.tokens import apply

SPEECH = ROOT / "tests" / "data" / "clips" / "speech_en_cards_16k.flac"
RATE = 16000

# A stand-in for sounddevice: it records a second of silence, then sends Ctrl-C.
SOUND_CARD = """
import os, signal, numpy
class PortAudioError(Exception): pass
class Stream:
    def __init__(self, samplerate, channels, dtype): self.left, self.channels = samplerate, channels
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def write(self, block): pass
    def read(self, n):
        self.left -= n
        if self.left <= 0: os.kill(os.getpid(), signal.SIGINT)
        return numpy.zeros((n, self.channels), numpy.float32), False
InputStream = OutputStream = Stream
"""

# Data that recipes expect.
DATA_OF_44KHZ = [
    f"data/{name}" for name in ("daps", "speech_hq", "speech_uq", "musdb", "jamendo", "audioset")
]
POOLS = ["music", "instruments", "effects", "speech48", "speech44", "speech24", "speech22", "speech16"]

SMALL_CONFIG = """
model: {encoder_hidden_size: 4, downsampling_ratios: [4, 4], decoder_hidden_size: 16, n_codebooks: 2, codebook_size: 64}
data: {sources: [my/audio], rescan_seconds: 0}
steps: 2
out: runs/mine
"""


def lay_out(folder: Path) -> None:
    """Create everything except the hub's cache."""
    speech = read(SPEECH).samples
    audio(folder / "in.flac", np.tile(speech, 18)[:, : 61 * RATE])  # a command starts at 60 s
    audio(folder / "in.wav", speech[:, :RATE])
    (folder / "in.mkv").touch()
    for place in ["recordings/a", "my/audio", "data/vctk", "data/musdb/train", *DATA_OF_44KHZ]:
        audio(folder / place / "x.flac", speech[:, :RATE])
        audio(folder / place / "y.flac", speech[:, RATE : 2 * RATE])
    for name in ("train_1", "train_2", "train_3", "data/train_1", "data/train_2", "data/val", "val"):
        archive(folder / f"{name}.tar", speech)
    sound = (resample(speech, RATE, 44100)[0] * 32767).astype(np.int16)
    for name in ("live.raw", "in.raw"):
        sound[:44100].tofile(folder / name)
    Codec.from_pretrained("builtin").encode_file(folder / "in.flac", folder / "in.dacz")
    corpora(folder)
    dia = apply(np.random.default_rng(0).integers(0, 64, (9, 20)), "dia")
    (folder / "rows.jsonl").write_text("".join(f"{row.tolist()}\n" for row in dia))
    (folder / "my.yaml").write_text(SMALL_CONFIG)
    save_model(
        folder / "runs/mine/model", downsampling_ratios=(4, 4, 4, 8), sampling_rate=44100, n_codebooks=9
    )
    descript_weights(folder / "weights.pth", folder / "runs/mine/model")
    for other in ("scripts", "examples"):
        if (ROOT / other).exists():
            (folder / other).symlink_to(ROOT / other)
    stand_ins(folder / "bin")


def corpora(folder: Path) -> None:
    """A folder of tokens, a list and a Parquet file."""
    tokenize(folder / "in.wav", folder / "tokens", run=in_this_process)
    lines = [{"path": "in.wav", "start": 0.2, "duration": 0.5, "text": "so"}, {"path": "recordings/a/x.flac"}]
    (folder / "list.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    content = (folder / "in.wav").read_bytes()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    audio = pa.array([{"bytes": content, "path": "in.wav"}] * 2, kind)
    pq.write_table(pa.table({"audio": audio, "text": ["one", "two"]}), folder / "corpus.parquet")


def in_this_process(work, jobs):
    do = work.start()
    for job in jobs:
        yield do(work.prepare(job))


class SpeakingModel:
    """A stand-in for a language model: it generates noise, and calls a streamer like transformers' Dia does."""

    def generate(self, streamer: object) -> None:
        rows = torch.from_numpy(apply(np.random.default_rng(0).integers(0, 1024, (9, 20)), "dia"))
        streamer.put(rows[:1].T[None])
        for row in rows[1:]:
            streamer.put(row)
        streamer.end()


def hub_cache(folder: Path) -> None:
    """A hub cache with a model of the released shape and name."""
    repository = folder / "models--descript--dac_44khz"
    save_model(
        repository / "snapshots" / ("a" * 40),
        downsampling_ratios=(2, 4, 8, 8),
        sampling_rate=44100,
        codebook_size=1024,
    )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)


def audio(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, samples, RATE)


def archive(path: Path, speech: np.ndarray) -> None:
    """A tar as in docs/training.md: a folder with recordings and a files.tsv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = io.BytesIO()
    write(sound, speech[:, :RATE], RATE, format="flac")
    split, pools = ("val", ["speech16"]) if path.stem == "val" else ("train", POOLS)
    rows = [f"{pool}.flac\t{pool}\t{split}" for pool in pools]
    files = {f"{pool}.flac": sound.getvalue() for pool in pools}
    files["files.tsv"] = "\n".join(["file\tpool\tsplit", *rows, ""]).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{path.stem}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def descript_weights(path: Path, model_folder: Path) -> None:
    """A weights file as saved by Descript's package."""
    model = DacModel.from_pretrained(model_folder)
    config = model.config
    theirs = {ours: original for original, ours in layer_names(len(config.downsampling_ratios)).items()}
    state = {}
    for key, value in model.state_dict().items():
        layer, _, name = key.rpartition(".")
        state[f"{theirs.get(layer, layer)}.{name}"] = value
    kwargs = {
        "encoder_dim": config.encoder_hidden_size,
        "encoder_rates": list(config.downsampling_ratios),
        "decoder_dim": config.decoder_hidden_size,
        "decoder_rates": list(config.downsampling_ratios[::-1]),
        "n_codebooks": config.n_codebooks,
        "codebook_size": config.codebook_size,
        "codebook_dim": config.codebook_dim,
        "sample_rate": config.sampling_rate,
    }
    torch.save({"state_dict": state, "metadata": {"kwargs": kwargs}}, path)


def stand_ins(folder: Path) -> None:
    folder.mkdir()
    for name, script in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "sounddevice.py").write_text(SOUND_CARD)


def copy(template: Path, folder: Path) -> None:
    shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
