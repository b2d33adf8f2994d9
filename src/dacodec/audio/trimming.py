"""Removes encoder delay and padding, which files declare, from audio in blocks."""

from __future__ import annotations

from collections.abc import Iterator

from dacodec.audio.findings import RatedBlock


class Trimmer:
    """Trims one recording.

    Args:
        skip: samples to remove at the start.
        hold: samples at the end that may turn out to be padding; so many are held back until it is known.
    """

    def __init__(self, skip: int, hold: int) -> None:
        self._skip, self._hold = skip, hold
        self._held: list[RatedBlock] = []
        self.n_samples = 0  # received, without those skipped

    def push(self, block: RatedBlock) -> Iterator[RatedBlock]:
        """The samples that can be given out now that ``block`` has come."""
        rate, samples = block
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        self.n_samples += samples.shape[1] - skipped
        self._held.append((rate, samples[:, skipped:]))
        while self._held and sum(s.shape[1] for _, s in self._held[1:]) >= self._hold:
            yield self._held.pop(0)

    def rest(self, surplus: int = 0) -> Iterator[RatedBlock]:
        """The samples held back, without the last ``surplus``."""
        left = sum(samples.shape[1] for _, samples in self._held) - surplus
        for rate, samples in self._held:
            if left > 0:
                yield rate, samples[:, :left]
            left -= samples.shape[1]
        self._held = []
