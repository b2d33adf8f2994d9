"""The output of a run: one line of JSON per step, TensorBoard, and a progress bar or plain lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from dacodec.errors import ConfigError, shown
from dacodec.files import new_file
from dacodec.spectra import magnitudes

SECONDS_BETWEEN_LINES = 20.0


class RunLog:
    """The log of a run, written only by its first process.

    Args:
        first_step: lines of this step and later ones, left by a run killed after its last checkpoint, are removed.
    """

    def __init__(self, folder: Path, first_step: int, tensorboard: bool) -> None:
        self.path = folder / "log.jsonl"
        _drop_steps_from(self.path, first_step)
        self._file = self.path.open("a")
        self._board = _summary_writer(folder / "tensorboard", first_step) if tensorboard else None
        self._console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=1.0)
        self._last_line = 0.0

    def steps(self, rows: Sequence[Mapping[str, Any]], share_done: float) -> None:
        """Lines of steps, oldest first."""
        for row in rows:
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        last = rows[-1]
        if self._board is not None:
            for name, value in last.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"train/{name}", value, last["step"])
        text = "  ".join(f"{k} {v:.4g}" for k, v in last.items() if isinstance(v, (int, float)))
        self._progress.update(self._task, completed=share_done, description=text)
        if not self._console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(text)

    def event(self, step: int, name: str, values: Mapping[str, Any]) -> None:
        """A line about something other than a step: validation, codebook usage, new data."""
        self._file.write(json.dumps({"step": step, "event": name, **values}) + "\n")
        self._file.flush()
        self.say(f"step {step} {name}: " + "  ".join(f"{k} {_short(v)}" for k, v in values.items()))
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{name}/{key}", value, step)

    def audio(self, step: int, name: str, samples: Tensor, sampling_rate: int) -> None:
        """A clip [T], as audio and spectrogram."""
        if self._board is None:
            return
        self._board.add_audio(name, samples[None], step, sampling_rate)
        decibels = 20 * magnitudes(samples, 1024).clamp(1e-4).log10()
        self._board.add_image(f"{name}/spectrum", ((decibels + 80) / 130).clamp(0, 1).flip(0)[None], step)

    def say(self, text: str) -> None:
        self._console.print(shown(text), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return np.array2string(np.array(value), precision=2) if isinstance(value, list) else str(value)


def _drop_steps_from(path: Path, first_step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off when the run was killed
        # Events belong to the moment before their step.
        if row["step"] < first_step + ("event" in row):
            kept.append(line + "\n")
    with new_file(path, overwrite=True) as file:
        file.write("".join(kept).encode())


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard is missing: pip install dacodec[train], or --tensorboard=false"
        ) from error
    return SummaryWriter(folder, purge_step=first_step)
