"""Signals of any length in constant memory, with exactly the result of coding them whole.

A frame depends on a bounded stretch of the signal. Each chunk is given as much context a side as that takes (the
halo, from geometry), at the phase that it has in the whole signal, and what the context makes is dropped.

Shapes: C channels, T samples, K codebooks, F frames, any number of T and F in each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.base import Engine

CHUNK_SECONDS = 5.0
# Rows that an engine gets at once are bounded, so that many channels take no more memory than two.
_ROWS = 2


def chunk_frames(engine: Engine, seconds: float = CHUNK_SECONDS) -> int:
    """Frames in a chunk of about ``seconds``, at least one."""
    return max(1, round(seconds * engine.geometry.config.frames_per_second))


def encode_chunks(
    engine: Engine, blocks: Iterable[Tensor], n_quantizers: int | None, frames_a_chunk: int
) -> Iterator[Tensor]:
    """Codes [C, K, F], bit by bit, of audio that comes in ``blocks`` [C, T] at the model's rate.

    The end is padded with zeros to as many frames as it takes to decode all samples again.
    """
    geometry = engine.geometry

    def padded(n_samples: int) -> tuple[int, int]:
        n_frames = geometry.frames_needed(n_samples)
        return n_frames, geometry.samples_needed(n_frames)

    hop = geometry.config.hop_length
    for window in _windows(blocks, hop, geometry.encoder_halo, frames_a_chunk, padded):
        codes = _by_rows(lambda rows: engine.encode(rows, None, n_quantizers), window.steps)
        yield codes[:, :, window.skip : window.skip + window.keep]


def decode_chunks(engine: Engine, blocks: Iterable[Tensor], frames_a_chunk: int) -> Iterator[Tensor]:
    """Audio [C, T], bit by bit, of codes that come in ``blocks`` [C, K, F]."""
    geometry = engine.geometry
    hop = geometry.config.hop_length
    for window in _windows(blocks, 1, geometry.decoder_halo, frames_a_chunk, lambda n: (n, n)):
        audio = _by_rows(engine.decode, window.steps)
        yield audio[:, window.skip * hop : None if window.last else (window.skip + window.keep) * hop]


class _Window(NamedTuple):
    """A chunk with its context: of what it makes, ``keep`` frames after the first ``skip`` are wanted."""

    steps: Tensor  # [..., T]
    skip: int
    keep: int
    last: bool


def _windows(
    blocks: Iterable[Tensor],
    hop: int,
    halo: int,
    size: int,
    padded: Callable[[int], tuple[int, int]],
) -> Iterator[_Window]:
    """Cut a signal, ``hop`` steps a frame, into windows of ``size`` frames and ``halo`` frames a side.

    ``padded`` tells, of the whole number of steps, how many frames and steps it is to be taken as.
    """
    start = done = 0  # frames: where the buffer begins, and what was cut already
    buffer: Tensor | None = None

    def cut(stop: int, last: bool) -> _Window:
        nonlocal start, done, buffer
        assert buffer is not None
        window = _Window(buffer[..., : (stop + halo - start) * hop], done - start, stop - done, last)
        keep_from = max(0, stop - halo)
        buffer, start, done = buffer[..., (keep_from - start) * hop :], keep_from, stop
        return window

    for block in blocks:
        buffer = block if buffer is None else torch.cat([buffer, block], -1)
        while start * hop + buffer.shape[-1] >= (done + size + halo) * hop:
            yield cut(done + size, last=False)
    if buffer is None:
        return
    end = start * hop + buffer.shape[-1]
    n_frames, n_steps = padded(end)
    buffer = F.pad(buffer, (0, n_steps - end))
    while done < n_frames:
        yield cut(min(done + size, n_frames), last=done + size >= n_frames)


def _by_rows(run: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([run(part) for part in torch.split(rows, _ROWS)])
