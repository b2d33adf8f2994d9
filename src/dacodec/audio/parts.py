"""The part of a recording to work on, and progress through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dacodec.audio.arrays import Samples
from dacodec.audio.blocks import between
from dacodec.audio.reading import AudioReader, PcmReader
from dacodec.errors import AudioError

# Called with the seconds of audio done so far and the total, None if that is unknown.
Progress = Callable[[float, float | None], None]


class Part:
    """A start and a duration in seconds; a duration of None runs to the end.

    Raises:
        AudioError: if the start is negative or the duration not positive.
    """

    def __init__(self, start_seconds: float, duration_seconds: float | None) -> None:
        if not 0 <= start_seconds < np.inf:
            raise AudioError(f"the start must be 0 s or later, got {start_seconds}")
        if duration_seconds is not None and not duration_seconds > 0:
            raise AudioError(f"the duration must be more than 0 s, got {duration_seconds}")
        self._start, self._duration = start_seconds, duration_seconds

    def samples(self, sampling_rate: int, n_samples: int) -> tuple[int, int]:
        """Its first sample and the one after its last, in a signal of ``n_samples``."""
        start = round(self._start * sampling_rate)
        stop = n_samples if self._duration is None else start + round(self._duration * sampling_rate)
        if start >= n_samples > 0 or stop <= start:
            raise AudioError(
                f"there is no audio from {self._start:g} s on; the audio is {n_samples / sampling_rate:g} s long"
            )
        return start, min(stop, n_samples)

    def length(self, reader: AudioReader | PcmReader) -> int | None:
        """Its length in samples; None if ``reader`` does not know its own."""
        if reader.n_samples is None:
            return None
        start, stop = self.samples(reader.sampling_rate, reader.n_samples)
        return stop - start

    def of(self, reader: AudioReader | PcmReader) -> Iterator[Samples]:
        return self.of_blocks(reader.blocks(), reader.sampling_rate)

    def of_blocks(self, blocks: Iterator[Samples], sampling_rate: int) -> Iterator[Samples]:
        if not self._start and self._duration is None:
            return blocks
        return self._some(blocks, *self.samples(sampling_rate, 1 << 62))

    def _some(self, blocks: Iterator[Samples], start: int, stop: int) -> Iterator[Samples]:
        seen = 0
        for block in between(blocks, start, stop):
            seen += block.shape[1]
            yield block
        if not seen:
            raise AudioError(f"there is no audio from {self._start:g} s on")


class Counted:
    """Counts the samples that pass, of a signal of ``length`` samples (None if unknown)."""

    def __init__(self, sampling_rate: int, length: int | None) -> None:
        self._rate = sampling_rate
        self._total = None if length is None else length / sampling_rate
        self.n_samples = 0

    def of(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self.n_samples += block.shape[1]
            yield block

    def tell(self, progress: Progress | None) -> None:
        if progress:
            progress(self.n_samples / self._rate, self._total)


def telling(blocks: Iterable[Samples], counted: Counted, progress: Progress | None) -> Iterator[Samples]:
    """Passes blocks on, reporting progress after each: in the caller's thread, wherever the counting is."""
    for block in blocks:
        yield block
        counted.tell(progress)
