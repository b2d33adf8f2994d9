"""Many signals of different lengths at once: grouped into batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.batching.chunks import decode_chunks, encode_chunks
from dacodec.engine.base import Engine

MAX_WASTE = 0.1
_CHUNKS_A_BATCH = 2  # a batch is as large as this many chunks of a long signal


def encode_rows(
    engine: Engine, rows: Sequence[Tensor], n_quantizers: int | None, frames_a_chunk: int
) -> list[Tensor]:
    """Codes [K, F] of each of ``rows`` [T], audio at the model's rate, in the same order."""
    geometry = engine.geometry
    frames = [geometry.frames_needed(len(row)) for row in rows]
    coded: list[Tensor] = [torch.empty(0)] * len(rows)
    for batch in plan_batches(frames, _CHUNKS_A_BATCH * frames_a_chunk):
        if len(batch) == 1:
            parts = encode_chunks(engine, [rows[batch[0]][None]], n_quantizers, frames_a_chunk)
            coded[batch[0]] = torch.cat(list(parts), 2)[0]
            continue
        lengths = torch.tensor([geometry.samples_needed(frames[i]) for i in batch])
        codes = engine.encode(_padded([rows[i] for i in batch], int(lengths.max())), lengths, n_quantizers)
        for i, row in zip(batch, codes, strict=True):
            coded[i] = row[:, : frames[i]]
    return coded


def decode_rows(engine: Engine, rows: Sequence[Tensor], frames_a_chunk: int) -> list[Tensor]:
    """Audio [T], at the model's rate, of each of ``rows`` of codes [K, F], in the same order."""
    decoded = [torch.zeros(0)] * len(rows)
    by_count = sorted(range(len(rows)), key=lambda i: rows[i].shape[0])
    for _, same in groupby(by_count, key=lambda i: rows[i].shape[0]):  # rows of a batch have one K
        group = [i for i in same if rows[i].shape[1]]
        for batch in plan_batches([rows[i].shape[1] for i in group], _CHUNKS_A_BATCH * frames_a_chunk):
            indices = [group[j] for j in batch]
            if len(indices) == 1:
                parts = decode_chunks(engine, [rows[indices[0]][None]], frames_a_chunk)
                decoded[indices[0]] = torch.cat(list(parts), 1)[0]
                continue
            lengths = torch.tensor([rows[i].shape[1] for i in indices])
            audio = engine.decode(_padded([rows[i] for i in indices], int(lengths.max())), lengths)
            for i, row, length in zip(indices, audio, lengths.tolist(), strict=True):
                decoded[i] = row[: engine.geometry.samples(length)]
    return decoded


def _padded(rows: Sequence[Tensor], length: int) -> Tensor:
    return torch.stack([F.pad(row, (0, length - row.shape[-1])) for row in rows])


def plan_batches(lengths: Sequence[int], budget: int, max_waste: float = MAX_WASTE) -> list[list[int]]:
    """Groups of indices into ``lengths``, longest first, to be padded to their longest.

    In each, at most a fraction ``max_waste`` of the padded steps is padding, and the padded steps are at most
    ``budget`` (a longer signal is a batch of its own).
    """
    batches: list[list[int]] = []
    real = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches:
            longest, size = lengths[batches[-1][0]], len(batches[-1]) + 1
            if size * longest <= budget and real + lengths[i] >= (1 - max_waste) * size * longest:
                batches[-1].append(i)
                real += lengths[i]
                continue
        batches.append([i])
        real = lengths[i]
    return batches


def padding_waste(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The fraction of all padded steps that is padding."""
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths) / padded if padded else 0.0
