"""Read recordings and resample them to the model's rate. Needs no model, so it may run apart from coding.

Shapes: C channels, T samples.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dacodec.audio import AudioReader, Samples
from dacodec.audio.conversion import at_rate, gain_to
from dacodec.audio.parts import Counted, Part
from dacodec.corpus.addresses import explained
from dacodec.corpus.items import Item
from dacodec.corpus.settings import Settings
from dacodec.errors import AudioWarning, DacodecError

LONG_SECONDS = 30.0  # longer recordings are read while they are coded, in constant memory

T = TypeVar("T")


@dataclass(frozen=True)
class Signal:
    """A short recording. ``samples`` [C, T] are at the model's rate; the rest describes the original."""

    samples: Samples
    sampling_rate: int
    n_samples: int
    gain: float
    mid_side: bool


@dataclass(frozen=True)
class Long:
    """A recording longer than :data:`LONG_SECONDS`, not read yet."""


@dataclass(frozen=True)
class Failure:
    reason: str


@dataclass(frozen=True)
class Told:
    """A result with its warnings."""

    value: Signal | Long | Failure
    warnings: tuple[str, ...] = ()


class Opening:
    """An open recording: blocks [C, n] of the channels to be coded, at its own rate."""

    def __init__(self, reader: AudioReader, item: Item, settings: Settings) -> None:
        part = Part(item.start_seconds or 0.0, item.duration_seconds)
        self.sampling_rate = reader.sampling_rate
        self.channels = 1 if settings.channels == "mono" else reader.channels
        self.mid_side = settings.channels == "mid-side" and reader.channels == 2
        self.counted = Counted(reader.sampling_rate, None)
        self.blocks = _mixed(self.counted.of(part.of(reader)), self.channels)

    def at_rate(self, model_rate: int, gain: float) -> Iterator[Samples]:
        return at_rate(model_rate, self.blocks, self.sampling_rate, gain, self.mid_side)


@contextmanager
def opened(item: Item, settings: Settings) -> Iterator[Opening]:
    """
    Raises:
        AudioError: as :func:`dacodec.audio.read`.
    """
    with item.place.open() as file, AudioReader(file, damaged=settings.damaged) as reader:
        yield Opening(reader, item, settings)


def gain_of(item: Item, settings: Settings) -> float:
    """The gain of a long recording, which is read an extra time to measure it."""
    if settings.loudness_lufs is None:
        return 1.0
    with opened(item, settings) as opening:
        return gain_to(opening.blocks, opening.channels, opening.sampling_rate, settings.loudness_lufs)


def read(item: Item, settings: Settings, model_rate: int) -> Told:
    """Read a recording, unless it is long. A failure is a result, too."""
    value = attempted(lambda: _read(item, settings, model_rate))
    return Told(value, heard())


def attempted(call: Callable[[], T]) -> T | Failure:
    """The result of ``call``, or why it failed. One recording among many may fail in any way."""
    try:
        return call()
    except DacodecError as error:
        return Failure(" ".join(str(error).split()))
    except Exception as error:  # from the package of a remote file system, or a bug in a decoder
        return Failure(" ".join(explained(error).split()))


def _read(item: Item, settings: Settings, model_rate: int) -> Signal | Long:
    with opened(item, settings) as opening:
        rate, blocks = opening.sampling_rate, []
        for block in opening.blocks:
            blocks.append(block)
            if opening.counted.n_samples > LONG_SECONDS * rate:
                return Long()
        gain = 1.0
        if settings.loudness_lufs is not None:
            gain = gain_to(blocks, opening.channels, rate, settings.loudness_lufs)
        resampled = at_rate(model_rate, blocks, rate, gain, opening.mid_side)
        nothing = np.zeros((opening.channels, 0), np.float32)
        samples = np.concatenate([nothing, *resampled], axis=1)
        return Signal(samples, rate, opening.counted.n_samples, gain, opening.mid_side)


def _mixed(blocks: Iterable[Samples], channels: int) -> Iterator[Samples]:
    for block in blocks:
        yield block if len(block) == channels else block.mean(0, keepdims=True, dtype=np.float32)


class FrameLevels:
    """Measures the power of each frame of a signal [C, T] that passes through in blocks."""

    def __init__(self, hop_length: int) -> None:
        self._hop = hop_length
        self._rest = np.zeros(0, np.float32)
        self._levels: list[Samples] = []

    def of(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            power = np.concatenate([self._rest, np.square(block).mean(0)])
            whole = len(power) // self._hop * self._hop
            self._levels.append(power[:whole].reshape(-1, self._hop).mean(1))
            self._rest = power[whole:]
            yield block

    def all(self, n_frames: int) -> Samples:
        """The levels [n_frames], silence beyond the end."""
        last = [self._rest.mean(keepdims=True)] if len(self._rest) else []
        levels = np.concatenate([np.zeros(0, np.float32), *self._levels, *last])[:n_frames]
        return np.pad(levels, (0, n_frames - len(levels)))


def cuts(
    n_frames: int, most_frames: int, levels: Samples | None = None, smoothed_frames: int = 1
) -> list[int]:
    """The first frames of the rows of at most ``most_frames`` that a recording of ``n_frames`` is cut into.

    Args:
        levels: [n_frames]; if given, cut at the quietest frame in the second half of each row.
        smoothed_frames: length of the moving average of the levels.
    """
    starts, quiet = [0], None
    if levels is not None and n_frames:
        sums = np.concatenate([[0.0], levels.astype(np.float64).cumsum()])
        around = np.arange(n_frames)
        low, high = (
            np.maximum(0, around - smoothed_frames // 2),
            np.minimum(n_frames, around + smoothed_frames // 2 + 1),
        )
        quiet = (sums[high] - sums[low]) / (high - low)
    while starts[-1] + most_frames < n_frames:
        start = starts[-1]
        if quiet is None or most_frames < 2:
            starts.append(start + most_frames)
        else:
            first = start + math.ceil(most_frames / 2)
            starts.append(first + int(quiet[first : start + most_frames + 1].argmin()))
    return starts


_heard = threading.local()


def hear_warnings() -> None:
    """Keep the audio warnings of this process from now on, a list per thread, for :func:`heard`."""
    warnings.simplefilter("always", AudioWarning)
    warnings.showwarning = lambda message, *_, **__: _lines().append(str(message))


def heard() -> tuple[str, ...]:
    """The warnings in this thread since the last call."""
    lines = tuple(_lines())
    _lines().clear()
    return lines


def heard_along(blocks: Iterable[T], lines: list[str]) -> Iterator[T]:
    """``blocks``; warnings while they are made, in whichever thread, are added to ``lines``."""
    try:
        yield from blocks
    finally:
        lines.extend(heard())


def _lines() -> list[str]:
    if not hasattr(_heard, "lines"):
        _heard.lines = []
    return _heard.lines
