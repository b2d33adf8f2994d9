"""Recordings through a model chunk by chunk, batched with those of other requests, with exactly the codec's own results.

Shapes: C channels, T samples at the model's rate, K codebooks, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dacodec.audio import Samples
from dacodec.batching.batches import decode_rows, encode_rows
from dacodec.batching.chunks import Chunk
from dacodec.batching.rows import push_together
from dacodec.codec import Codec
from dacodec.codec.coder import Codes, to_uint16
from dacodec.engine import State
from dacodec.serve.worker import Kind, Worker


class _Work(NamedTuple):
    """A chunk of a recording, with the state before it."""

    steps: Tensor  # [C, T] or codes [C, K, F]
    state: State
    place: int  # steps pushed so far, less those that have come out
    n_quantizers: int


@dataclass
class Encoding:
    """Encodes one recording."""

    codec: Codec
    worker: Worker
    n_quantizers: int
    _state: State = None
    _n_samples: int = 0
    _n_frames: int = 0

    async def push(self, chunk: Chunk) -> Codes:
        """Codes [C, K, F] that ``chunk`` [C, T] completes. All chunks but the last have ``chunk_frames`` frames."""
        steps, hop, geometry = chunk.steps, self.codec.model.hop_length, self.codec.geometry
        is_whole = chunk.last and self._state is None
        place = self._n_samples - self._n_frames * hop
        self._n_samples += steps.shape[1]
        wanted = geometry.frames_needed(self._n_samples)
        if chunk.last and not is_whole:
            padding = geometry.samples_needed(wanted) - self._n_samples
            steps = torch.nn.functional.pad(steps, (0, padding))
        work = _Work(steps, self._state, place, self.n_quantizers)
        seconds = steps.numel() / self.codec.sampling_rate
        output, self._state = await self.worker.offline(self._kind(chunk.last, is_whole), work, seconds)
        if chunk.last:
            output = output[:, :, : wanted - self._n_frames]
        self._n_frames += output.shape[2]
        return to_uint16(output)

    def _kind(self, last: bool, is_whole: bool) -> Kind:
        run = _encode_whole if is_whole else partial(_push_audio, end=last)
        return Kind(("encode", id(self.codec), last, is_whole), partial(run, self.codec))


@dataclass
class Decoding:
    """Decodes one recording to audio at the model's rate."""

    codec: Codec
    worker: Worker
    _state: State = None
    _n_samples: int = 0
    _n_frames: int = 0

    async def push(self, chunk: Chunk) -> Samples:
        """Audio [C, T] that ``chunk`` [C, K, F] completes."""
        steps, hop = chunk.steps, self.codec.model.hop_length
        is_whole = chunk.last and self._state is None
        work = _Work(steps, self._state, self._n_frames * hop - self._n_samples, 0)
        self._n_frames += steps.shape[2]
        seconds = len(steps) * steps.shape[2] / self.codec.model.frames_per_second
        output, self._state = await self.worker.offline(self._kind(chunk.last, is_whole), work, seconds)
        self._n_samples += output.shape[1]
        return np.asarray(output.numpy())

    def _kind(self, last: bool, is_whole: bool) -> Kind:
        run = _decode_whole if is_whole else partial(_push_codes, end=last)
        return Kind(("decode", id(self.codec), last, is_whole), partial(run, self.codec))


class _Done(NamedTuple):
    output: Tensor
    state: State


def _encode_whole(codec: Codec, works: list[_Work]) -> list[_Done]:
    rows = [row for work in works for row in work.steps]
    most = max(work.n_quantizers for work in works)
    coded = iter(encode_rows(codec.engine, rows, most, codec.chunk_frames))
    # Quantizers are applied in order, so fewer codebooks are a prefix of more.
    return [
        _Done(torch.stack([next(coded)[: work.n_quantizers] for _ in work.steps]), None) for work in works
    ]


def _decode_whole(codec: Codec, works: list[_Work]) -> list[_Done]:
    rows = [row for work in works for row in work.steps]
    decoded = iter(decode_rows(codec.engine, rows, codec.chunk_frames))
    return [_Done(torch.stack([next(decoded) for _ in work.steps]), None) for work in works]


def _push_audio(codec: Codec, works: list[_Work], end: bool) -> list[_Done]:
    most = max(work.n_quantizers for work in works)
    push = partial(codec.engine.push_audio, n_quantizers=most, end=end)
    pushed = push_together(push, [w.steps for w in works], [w.state for w in works], [w.place for w in works])
    return [
        _Done(codes[:, : work.n_quantizers], state)
        for work, (codes, state) in zip(works, pushed, strict=True)
    ]


def _push_codes(codec: Codec, works: list[_Work], end: bool) -> list[_Done]:
    push = partial(codec.engine.push_codes, end=end)
    pushed = push_together(push, [w.steps for w in works], [w.state for w in works], [w.place for w in works])
    return [_Done(*one) for one in pushed]
