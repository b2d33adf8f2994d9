"""Signals of any length in constant memory: pushed through an engine chunk by chunk.

Shapes: C channels, T samples, K codebooks, F frames, any number of T and F in each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.base import Engine, Pushed, State

# An engine gets a bounded number of rows at once, so that many channels take no more memory than two.
_ROWS = 2


def chunk_frames(engine: Engine, seconds: float | None = None) -> int:
    """Frames in a chunk of about ``seconds``, by default what suits the engine, at least one."""
    return max(1, round((seconds or engine.chunk_seconds) * engine.geometry.config.frames_per_second))


def encode_chunks(
    engine: Engine, blocks: Iterable[Tensor], n_quantizers: int | None, frames_a_chunk: int
) -> Iterator[Tensor]:
    """Codes in blocks [C, K, F] of audio in ``blocks`` [C, T] at the model's rate.

    The end is padded with zeros to as many frames as it takes to decode all samples again.
    """
    geometry = engine.geometry
    n_samples = n_frames = 0
    state: State = None
    for chunk, last in chunks(blocks, frames_a_chunk * geometry.config.hop_length):
        n_samples += chunk.shape[1]
        if last:
            wanted = geometry.frames_needed(n_samples)
            chunk = F.pad(chunk, (0, geometry.samples_needed(wanted) - n_samples))
        push = partial(engine.push_audio, n_quantizers=n_quantizers, end=last)
        codes, state = _push_rows(push, chunk, state)
        yield codes[:, :, : wanted - n_frames] if last else codes
        n_frames += codes.shape[2]


def decode_chunks(engine: Engine, blocks: Iterable[Tensor], frames_a_chunk: int) -> Iterator[Tensor]:
    """Audio in blocks [C, T], at the model's rate, of codes in ``blocks`` [C, K, F]."""
    state: State = None
    for chunk, last in chunks(blocks, frames_a_chunk):
        audio, state = _push_rows(partial(engine.push_codes, end=last), chunk, state)
        yield audio


class Chunk(NamedTuple):
    steps: Tensor  # [C, ..., T]
    last: bool


def chunks(blocks: Iterable[Tensor], size: int) -> Iterator[Chunk]:
    """A signal in chunks of ``size`` steps, the last one of 1 to ``size``."""
    waiting: list[Tensor] = []  # joined once there are more steps than a chunk has
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += block.shape[-1]
        if n_waiting > size:
            *full, rest = torch.split(_joined(waiting), size, -1)
            yield from (Chunk(steps, last=False) for steps in full)
            waiting, n_waiting = [rest], rest.shape[-1]
    if n_waiting:
        yield Chunk(_joined(waiting), last=True)


def _joined(blocks: list[Tensor]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -1)


def _push_rows(push: Callable[..., Pushed], rows: Tensor, states: State) -> Pushed:
    parts = torch.split(rows, _ROWS)
    pushed = [push(part, state) for part, state in zip(parts, states or [None] * len(parts), strict=True)]
    return Pushed(torch.cat([p.output for p in pushed]), [p.state for p in pushed])
