"""Scores of a codec on a set of recordings, or of one decoded file: what ``dacodec eval`` does.

Protocol, as in arXiv 2306.06546: recordings are averaged to mono and brought to the model's rate and to -16 LUFS; the
decoded audio is brought to the loudness of its original. Scores are averaged within each pool, then over the pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch

from dacodec.audio import Audio, Samples, loudness_gain, loudness_lufs, resample
from dacodec.codec import Codec
from dacodec.encoded import Encoded
from dacodec.errors import AudioError, InputError
from dacodec.evaluation.codebooks import CodebookUse, codebook_use
from dacodec.evaluation.metrics import METRICS, Metric, available, measure
from dacodec.evaluation.opus import opus_name, through_opus

LOUDNESS_LUFS = -16.0
OPUS_KBPS = (6.0, 8.0, 12.0, 16.0, 24.0)
SPEECH = "speech"  # pools with this in their name are speech
EXCERPT_SECONDS = 8.0  # kept for listening


@dataclass(frozen=True)
class Sound:
    """A recording to evaluate on."""

    name: str
    pool: str
    audio: Audio


@dataclass(frozen=True)
class Score:
    """The scores of one file, coded by one codec at one rate."""

    codec: str
    bitrate_kbps: float
    file: str
    pool: str
    values: dict[str, float]
    n_codebooks: int | None = None


@dataclass(frozen=True)
class Excerpt:
    """Audio to listen to and look at, by title, the original first."""

    pool: str
    file: str
    sampling_rate: int
    versions: dict[str, Samples]


@dataclass
class Report:
    """All scores, and what is needed to understand them."""

    title: str
    sampling_rate: int
    scores: list[Score] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    codebooks: CodebookUse | None = None
    excerpts: list[Excerpt] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out and why, what to do; the Opus encoder


def evaluate_codec(
    codec: Codec,
    sounds: Iterable[Sound | AudioError],
    *,
    n_quantizers: Sequence[int] = (),
    opus_kbps: Sequence[float] = OPUS_KBPS,
    metrics: Sequence[Metric] = METRICS,
    speech: bool = False,
    n_jobs: int = 1,
) -> Report:
    """Scores of ``codec`` on ``sounds``, with each number of codebooks in ``n_quantizers``, and of Opus.

    Args:
        sounds: recordings; for one that could not be read, the error, which is listed.
        n_quantizers: by default four numbers up to all of them.
        speech: all recordings are speech; by default, those in pools with "speech" in their names are.
        n_jobs: processes that measure; they share the versions of one recording.

    Raises:
        InputError: if there is nothing to evaluate on.
    """
    report = Report(codec.model.name, codec.sampling_rate, metrics=available(metrics))
    counts = sorted(set(n_quantizers) or _spread(codec.n_codebooks))
    codes = []
    with _mapping(n_jobs) as map_:
        for sound in sounds:
            if isinstance(sound, AudioError):
                report.skipped.append(str(sound))
                continue
            reference = prepared(sound.audio, codec.sampling_rate)
            encoded = codec.encode(reference, codec.sampling_rate, n_quantizers=max(counts))
            codes.append(encoded.codes[0])
            versions = _versions(codec, reference, encoded, counts, opus_kbps)
            is_speech = speech or SPEECH in sound.pool
            report.scores += _scores(
                sound, versions, reference, codec.sampling_rate, report.metrics, is_speech, map_
            )
            if sound.pool not in {e.pool for e in report.excerpts}:
                report.excerpts.append(_excerpt(sound, versions, reference, codec.sampling_rate))
    if not codes:
        raise InputError("there is no audio to evaluate on")
    report.codebooks = codebook_use(codes, codec.model.codebook_size)
    if opus_kbps:
        report.notes.append(f"Opus is {opus_name()}")
    _leave_out_empty(report, metrics)
    return report


def _leave_out_empty(report: Report, wanted: Sequence[Metric]) -> None:
    """Note, for each metric without a value, why it has none."""
    measured = {key for score in report.scores for key in score.values}
    for metric in wanted:
        if metric not in report.metrics:
            report.notes.append(f"{metric.title} is left out: it needs the extra, pip install dacodec[eval]")
        elif metric.key not in measured and metric.speech_only:
            report.notes.append(
                f"{metric.title} is left out: it is for speech, and these recordings are not known to be; give --speech "
                f"if they are, or put speech in folders with {SPEECH!r} in their names"
            )
        elif metric.key not in measured:
            report.notes.append(
                f"{metric.title} is left out: no recording is long enough, or it is undefined for them"
            )
    report.metrics = [metric for metric in report.metrics if metric.key in measured]


def evaluate_pair(
    reference: Audio,
    decoded: Audio,
    names: tuple[str, str],
    *,
    speech: bool,
    metrics: Sequence[Metric] = METRICS,
) -> Report:
    """Scores of one decoded recording against its original, at the original's rate."""
    rate = reference.sampling_rate
    original = prepared(reference, rate)
    other = resample(decoded.samples.mean(0, keepdims=True), decoded.sampling_rate, rate)[0]
    length = min(len(original), len(other))
    original, other = original[:length], matched(other[:length], original[:length], rate)
    report = Report(names[1], rate, metrics=available(metrics))
    values = measure(other, original, rate, report.metrics, speech)
    pool = SPEECH if speech else "audio"
    report.scores.append(Score(names[1], float("nan"), names[0], pool, values))
    report.excerpts.append(Excerpt(pool, names[0], rate, {"original": original, names[1]: other}))
    _leave_out_empty(report, metrics)
    return report


def prepared(audio: Audio, sampling_rate: int) -> Samples:
    """Mono [T] at ``sampling_rate`` and -16 LUFS; quieter if that would clip."""
    mono = resample(audio.samples.mean(0, keepdims=True), audio.sampling_rate, sampling_rate)
    mono = mono * np.float32(loudness_gain(mono, sampling_rate, LOUDNESS_LUFS))
    return np.asarray(mono[0] / np.float32(max(1.0, np.abs(mono).max())), np.float32)


def matched(audio: Samples, reference: Samples, sampling_rate: int) -> Samples:
    """``audio`` [T] at the loudness of ``reference``."""
    wanted = loudness_lufs(reference, sampling_rate)
    if not np.isfinite(wanted):
        return audio
    return np.asarray(audio * np.float32(loudness_gain(audio, sampling_rate, wanted)))


class Mean(NamedTuple):
    """Mean values of one codec at one rate, over a pool or, as pool ``all``, over the pools' means."""

    codec: str
    bitrate_kbps: float
    pool: str
    values: dict[str, float]


def means(report: Report) -> list[Mean]:
    """For each codec and rate, the mean of each pool, then that of all."""
    rows = []
    kinds = dict.fromkeys((s.codec, s.n_codebooks or 0, _nominal(s)) for s in report.scores)
    for kind in kinds:
        own = [s for s in report.scores if (s.codec, s.n_codebooks or 0, _nominal(s)) == kind]
        rate = float(np.mean([s.bitrate_kbps for s in own]))
        pools = {
            pool: _mean([s.values for s in own if s.pool == pool]) for pool in sorted({s.pool for s in own})
        }
        rows += [Mean(kind[0], rate, pool, values) for pool, values in pools.items()]
        rows.append(Mean(kind[0], rate, "all", _mean(list(pools.values()))))
    return rows


@dataclass(frozen=True)
class _Version:
    """A recording as coded and decoded by one codec at one rate: [T], as long and as loud as the reference."""

    codec: str
    bitrate_kbps: float
    n_codebooks: int | None
    samples: Samples


def _versions(
    codec: Codec, reference: Samples, encoded: Encoded, counts: Sequence[int], rates: Sequence[float]
) -> list[_Version]:
    def fitted(decoded: Samples) -> Samples:
        padded = np.pad(decoded[: len(reference)], (0, max(0, len(reference) - len(decoded))))
        return matched(padded, reference, codec.sampling_rate)

    versions = []
    for count in counts:
        fewer = replace(encoded, codes=encoded.codes[:, :count])
        name = codec.model.name
        versions.append(_Version(name, fewer.bitrate_kbps, count, fitted(codec.decode(fewer))))
    for kbps in rates:
        result = through_opus(reference, codec.sampling_rate, kbps)
        versions.append(_Version(f"opus {kbps:g}", result.bitrate_kbps, None, fitted(result.samples)))
    return versions


def _scores(
    sound: Sound,
    versions: Sequence[_Version],
    reference: Samples,
    sampling_rate: int,
    metrics: Sequence[Metric],
    speech: bool,
    map_: Callable[..., Iterator[dict[str, float]]],
) -> list[Score]:
    measured = partial(
        measure,
        reference=reference,
        sampling_rate=sampling_rate,
        metrics=metrics,
        speech=speech,
    )
    values = map_(measured, [v.samples for v in versions])
    return [
        Score(v.codec, v.bitrate_kbps, sound.name, sound.pool, own, v.n_codebooks)
        for v, own in zip(versions, values, strict=True)
    ]


def _excerpt(sound: Sound, versions: Sequence[_Version], reference: Samples, sampling_rate: int) -> Excerpt:
    length = int(EXCERPT_SECONDS * sampling_rate)
    by_title = {"original": reference} | {
        f"{v.codec}, {v.bitrate_kbps:.1f} kbit/s": v.samples for v in versions
    }
    cut = {title: samples[:length] for title, samples in by_title.items()}
    return Excerpt(sound.pool, sound.name, sampling_rate, cut)


@contextmanager
def _mapping(n_jobs: int) -> Iterator[Callable[..., Iterator[dict[str, float]]]]:
    """``map``, over ``n_jobs`` processes of one thread each if there are several."""
    if n_jobs == 1:
        yield map
        return
    # Processes, not threads: ViSQOL and PESQ hold Python's lock. Spawned: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(n_jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield pool.map


def _nominal(score: Score) -> str:
    return score.codec if score.n_codebooks is None else ""


def _spread(n_codebooks: int) -> list[int]:
    return sorted({1, -(-n_codebooks // 3), -(-2 * n_codebooks // 3), n_codebooks})


def _mean(values: list[dict[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in values for key in row)
    return {key: float(np.mean([row[key] for row in values if key in row])) for key in keys}
