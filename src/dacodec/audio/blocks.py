"""Cutting and converting signals in blocks [C, n]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dacodec.audio.arrays import Samples


def between(blocks: Iterable[Samples], start: int, stop: int | None = None) -> Iterator[Samples]:
    """Samples ``start`` to ``stop``; the blocks after that are not read."""
    position = 0
    for block in blocks:
        part = block[:, max(0, start - position) : None if stop is None else max(0, stop - position)]
        position += block.shape[1]
        if part.shape[1]:
            yield part
        if stop is not None and position >= stop:
            return


def exactly(blocks: Iterable[Samples], n_samples: int) -> Iterator[Samples]:
    """The first ``n_samples``; a shorter signal is padded with zeros."""
    left, channels = n_samples, 1
    for block in blocks:
        channels = len(block)
        yield block[:, :left]
        left -= min(left, block.shape[1])
    if left:
        yield np.zeros((channels, left), np.float32)


def mid_side(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Left and right as mid and side: (left + right) / 2 and (left - right) / 2."""
    for left, right in blocks:
        yield np.stack([(left + right) / 2, (left - right) / 2])


def left_right(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Mid and side as left and right."""
    for mid, side in blocks:
        yield np.stack([mid + side, mid - side])


def ending_at(blocks: Iterable[Samples], n_samples: Callable[[], int], hold_back: int) -> Iterator[Samples]:
    """:func:`exactly` for a number known only after the last block: ``hold_back`` samples are held back.

    Raises:
        ValueError: if more samples than that turn out to be too many.
    """
    waiting: Samples | None = None
    given = 0
    for block in blocks:
        waiting = block if waiting is None else np.concatenate([waiting, block], axis=1)
        ready = max(0, waiting.shape[1] - hold_back)
        yield waiting[:, :ready]
        waiting, given = waiting[:, ready:], given + ready
    left = n_samples() - given
    if left < 0:
        raise ValueError(f"{given} samples were given out, {-left} more than there should be")
    yield from exactly([] if waiting is None else [waiting], left)
