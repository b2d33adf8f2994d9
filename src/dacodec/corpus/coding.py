"""Prepared recordings to rows, with a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from dacodec.batching.batches import encode_rows
from dacodec.codec import Codec
from dacodec.codec.coder import to_uint16
from dacodec.corpus.items import Item
from dacodec.corpus.reading import (
    Failure,
    FrameLevels,
    Long,
    Signal,
    Told,
    attempted,
    cuts,
    gain_of,
    heard,
    heard_along,
    opened,
)
from dacodec.corpus.rows import Outcome, Row
from dacodec.corpus.settings import Loading, Settings
from dacodec.encoded import Encoded
from dacodec.overlap import ahead

_SMOOTHED_SECONDS = 0.2  # moving average of the level, to find a quiet place


def load(loading: Loading) -> Codec:
    """The codec."""
    threads = loading.threads if loading.device == "cpu" else None
    codec = Codec.from_pretrained(
        loading.source,
        device=loading.device,
        engine=loading.engine,
        dtype=getattr(torch, loading.dtype),
        threads=threads,
    )
    if loading.chunk_seconds is not None:
        codec.chunk_seconds = loading.chunk_seconds
    return codec


def load_alone(loading: Loading) -> Codec:
    """The codec, in a process that does nothing else: PyTorch gets no more threads than it."""
    torch.set_num_threads(loading.threads)
    return load(loading)


def outcomes(codec: Codec, settings: Settings, prepared: Sequence[tuple[Item, Told]]) -> Iterator[Outcome]:
    """The rows of prepared recordings, or why there are none."""
    short = [(item, told.value) for item, told in prepared if isinstance(told.value, Signal)]
    coded = iter(_coded_together(codec, settings, short))
    for item, told in prepared:
        ahead_warnings: list[str] = []
        made: Signal | Long | Failure | _Coded = told.value
        if isinstance(made, Signal):
            made = next(coded)
        elif isinstance(made, Long):
            made = attempted(partial(_long, codec, settings, item, ahead_warnings))
        warnings = (*told.warnings, *heard(), *ahead_warnings)
        if isinstance(made, Failure):
            yield Outcome(item.key, failure=made.reason, warnings=warnings)
        else:
            yield _outcome(codec, settings, item, made, warnings)


@dataclass(frozen=True)
class _Coded:
    """A whole recording, and the levels of its frames if they are needed."""

    encoded: Encoded
    levels: Any = None


def _coded_together(
    codec: Codec, settings: Settings, signals: Sequence[tuple[Item, Signal]]
) -> Iterator[_Coded | Failure]:
    """Code recordings of like length in batches. If that fails, code them one by one."""
    made = attempted(lambda: list(_batch(codec, settings, [signal for _, signal in signals])))
    if not isinstance(made, Failure):
        yield from made
    elif len(signals) == 1:
        yield made
    else:
        for one in signals:
            yield from _coded_together(codec, settings, [one])


def _batch(codec: Codec, settings: Settings, signals: Sequence[Signal]) -> Iterator[_Coded]:
    counts = [
        codec.choose_n_quantizers(len(s.samples), settings.n_quantizers, settings.bitrate_kbps)
        for s in signals
    ]
    rows = [torch.from_numpy(row) for s in signals for row in s.samples]
    # The codes of fewer codebooks are the first of the codes of more.
    coded = iter(encode_rows(codec.engine, rows, max(counts, default=1), codec.chunk_frames))
    for s, count in zip(signals, counts, strict=True):
        codes = to_uint16(torch.stack([next(coded)[:count] for _ in s.samples]))
        encoded = Encoded(codes, s.sampling_rate, s.n_samples, codec.model, s.gain, s.mid_side)
        levels = FrameLevels(codec.model.hop_length)
        yield _Coded(encoded, _levels(levels, levels.of([s.samples]), settings, encoded.n_frames))


def _long(codec: Codec, settings: Settings, item: Item, warnings: list[str]) -> _Coded:
    """Warnings of the thread that reads ahead are added to ``warnings``."""
    gain = gain_of(item, settings)
    with opened(item, settings) as opening:
        count = codec.choose_n_quantizers(opening.channels, settings.n_quantizers, settings.bitrate_kbps)
        levels = FrameLevels(codec.model.hop_length)
        blocks = opening.at_rate(codec.sampling_rate, gain)
        measured = levels.of(blocks) if settings.split_at_silence else blocks
        with ahead(heard_along(measured, warnings)) as made:
            codes = np.concatenate(list(codec.encode_raw(made, count)), axis=2)
        n_samples = opening.counted.n_samples
    encoded = Encoded(codes, opening.sampling_rate, n_samples, codec.model, gain, opening.mid_side)
    return _Coded(encoded, levels.all(encoded.n_frames) if settings.split_at_silence else None)


def _levels(levels: FrameLevels, blocks: Iterable[Any], settings: Settings, n_frames: int) -> Any:
    if not settings.split_at_silence:
        return None
    for _ in blocks:
        pass
    return levels.all(n_frames)


def _outcome(
    codec: Codec, settings: Settings, item: Item, coded: _Coded, warnings: tuple[str, ...]
) -> Outcome:
    rows, reason = [], ""
    for row in _rows(codec, settings, item, coded):
        seconds = row.encoded.duration_seconds
        if seconds < settings.least_seconds:
            reason = f"{seconds:g} s is shorter than {settings.least_seconds:g} s"
        elif settings.most_seconds is not None and seconds > settings.most_seconds:
            reason = f"{seconds:g} s is longer than {settings.most_seconds:g} s"
        else:
            rows.append(row)
    left_out = None if rows else reason
    return Outcome(item.key, tuple(rows), coded.encoded.duration_seconds, left_out, warnings=warnings)


def _rows(codec: Codec, settings: Settings, item: Item, coded: _Coded) -> Iterator[Row]:
    encoded, start = coded.encoded, item.start_seconds or 0.0
    if settings.split_seconds is None:
        yield Row(item.key, encoded, start, item.columns)
        return
    per_second = codec.model.frames_per_second
    most = max(1, int(settings.split_seconds * per_second))
    starts = cuts(encoded.n_frames, most, coded.levels, round(_SMOOTHED_SECONDS * per_second))
    for i, (first, last) in enumerate(zip(starts, [*starts[1:], encoded.n_frames], strict=True)):
        yield Row(f"{item.key}#{i:05}", encoded[first:last], start + first / per_second, item.columns)
