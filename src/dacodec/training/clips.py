"""Recordings, decoded once: mono, at the model's rate, 16 bits, in files that all processes map into memory.

The system's page cache is the shared memory: it holds what fits, serves every worker and process on the machine,
and survives a killed run. Recordings beyond a budget are decoded anew at every use.

Each clip is stored at full scale with the factor that restores its level, so 16 bits are enough for quiet recordings
too. As in ``sources``, torch is not imported.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.audio import Samples, read, resample
from dacodec.errors import AudioError, OutputError
from dacodec.files import new_file
from dacodec.training.sources import Recording, Unit

FULL_SCALE = 32767


class Decoded(NamedTuple):
    """A recording in 16 bits, or why there is none."""

    samples: NDArray[np.int16]  # [T]
    scale: float  # samples times this are at the recording's own level
    source_rate: int  # Hz, of the recording
    problem: str = ""


@dataclass(frozen=True)
class Clip:
    """A recording that crops can be taken from."""

    pool: str
    source_rate: int  # Hz, of the original recording
    size: float  # for its share of the pool: samples, or bytes if it is decoded at every use
    pcm: str = ""  # file of 16-bit samples
    start: int = 0  # samples
    length: int = 0
    scale: float = 1.0
    recording: Recording | None = None

    def samples(self, sampling_rate: int) -> Samples:
        """The whole clip [T], float32 at its own level; empty if it cannot be decoded."""
        if self.recording is not None:
            decoded = decode(self.recording, sampling_rate)
            return _floats(decoded.samples, decoded.scale)
        return self.excerpt(0, self.length)

    def excerpt(self, start: int, length: int) -> Samples:
        """The samples from ``start`` [length], float32 at the clip's own level."""
        return _floats(self.stored()[start : start + length], self.scale)

    def stored(self) -> NDArray[np.int16]:
        """The whole clip at full scale, as stored in the file [T]."""
        return _mapped(self.pcm)[self.start : self.start + self.length]


@dataclass(frozen=True)
class Problem:
    """A recording that was skipped."""

    name: str
    reason: str


class ClipStore:
    """Decoded units in a folder: for each, a file of samples and one of metadata, complete or absent."""

    def __init__(self, folder: Path, sampling_rate: int, budget_gb: float, processes: int = 1) -> None:
        self.folder = folder
        self.sampling_rate = sampling_rate
        self.budget_bytes = int(budget_gb * 1e9)
        self.processes = processes

    def prepare(self, units: Iterable[Unit]) -> None:
        """Decode units that are not there yet, within the budget.

        Raises:
            OutputError: if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {self.folder} for decoded audio: {error.strerror}") from error
        for unit in units:
            if not self.holds(unit):
                self._decode(unit)

    def holds(self, unit: Unit) -> bool:
        return self._facts(unit).exists()

    def _decode(self, unit: Unit) -> None:
        room = self.budget_bytes - sum(p.stat().st_size for p in self.folder.glob("*.pcm"))
        clips: list[Clip] = []
        problems = [Problem(unit.origin, unit.problem)] if unit.problem else []
        pcm, length = self._facts(unit).with_suffix(".pcm"), 0
        with new_file(pcm, overwrite=True) as file:
            for recording, decoded in self._decode_all(unit.recordings):
                rate = recording.source_rate or decoded.source_rate
                if decoded.problem:
                    problems.append(Problem(recording.name, decoded.problem))
                elif 2 * (length + len(decoded.samples)) > room:
                    clips.append(Clip(recording.pool, rate, recording.size, recording=recording))
                else:
                    file.write(decoded.samples.tobytes())
                    clips.append(
                        Clip(
                            recording.pool,
                            rate,
                            len(decoded.samples),
                            str(pcm),
                            length,
                            len(decoded.samples),
                            decoded.scale,
                        )
                    )
                    length += len(decoded.samples)
        facts = {"clips": [asdict(c) for c in clips], "problems": [asdict(p) for p in problems]}
        with new_file(self._facts(unit), overwrite=True) as file:
            file.write(json.dumps(facts).encode())

    def _decode_all(self, recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Decoded]]:
        work = partial(decode, sampling_rate=self.sampling_rate)
        if self.processes <= 1 or len(recordings) < 8:
            yield from zip(recordings, map(work, recordings), strict=True)
            return
        # Spawned, not forked: training may have threads and a GPU open when a new tar arrives.
        with ProcessPoolExecutor(self.processes, get_context("spawn")) as pool:
            yield from zip(recordings, pool.map(work, recordings, chunksize=4), strict=True)

    def load(self, unit: Unit) -> tuple[list[Clip], list[Problem]]:
        """The clips of a prepared unit, and the recordings that were skipped."""
        facts = json.loads(self._facts(unit).read_text())
        clips = []
        for row in facts["clips"]:
            recording = row.pop("recording")
            clips.append(Clip(**row, recording=Recording(**recording) if recording else None))
        return clips, [Problem(**row) for row in facts["problems"]]

    def _facts(self, unit: Unit) -> Path:
        return self.folder / f"{unit.key}-{self.sampling_rate}.json"


def decode(recording: Recording, sampling_rate: int) -> Decoded:
    """A recording at ``sampling_rate`` Hz, its channels averaged."""
    nothing = np.zeros(0, np.int16)
    try:
        audio = read(io.BytesIO(recording.content()))
        mono = resample(audio.samples.mean(0, keepdims=True), audio.sampling_rate, sampling_rate)[0]
    except (AudioError, OSError) as error:
        return Decoded(nothing, 1.0, 0, str(error))
    peak = float(np.abs(mono).max())
    if peak == 0:
        return Decoded(nothing, 1.0, audio.sampling_rate, "it is silent")
    samples = np.round(mono * (FULL_SCALE / peak)).astype(np.int16)
    return Decoded(samples, peak / FULL_SCALE, audio.sampling_rate)


def _floats(samples: NDArray[np.int16], scale: float) -> Samples:
    floats: Samples = np.asarray(samples).astype(np.float32)
    floats *= np.float32(scale)
    return floats


@lru_cache(maxsize=256)
def _mapped(path: str) -> NDArray[np.int16]:
    return np.memmap(path, np.int16, "r")
