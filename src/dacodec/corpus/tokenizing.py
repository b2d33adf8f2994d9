"""Whole corpora to folders of tokens. Finished inputs are skipped, and failures do not stop the run."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args

from dacodec.corpus.cluster import ray_run
from dacodec.corpus.coding import load
from dacodec.corpus.folder import About, Done, Failed, TokenFolder
from dacodec.corpus.forms import find_form
from dacodec.corpus.items import Item, Unlisted
from dacodec.corpus.jobs import Run, grouped
from dacodec.corpus.local import local_run
from dacodec.corpus.reading import attempted
from dacodec.corpus.rows import Outcome
from dacodec.corpus.settings import Loading, Settings
from dacodec.corpus.sources import Sources
from dacodec.corpus.work import Tokenizing
from dacodec.errors import AudioWarning, ConfigError, OutputError

SHARD_SECONDS = 5 * 3600.0
JOB_ITEMS = 16  # recordings that are worked on together; a GPU gets more
_JOB_ITEMS_GPU = 64
_SHARD_CODES = 1 << 30  # Arrow's lists are addressed by 31 bits
_SHARD_INPUTS = 100_000

Changed = Literal["keep", "redo"]
Runner = Literal["local", "ray"]


@dataclass
class Report:
    """The outcome of a run, counted in inputs: recordings, or the parts that a list names."""

    done: int = 0
    rows: int = 0
    seconds: float = 0.0  # of audio
    left_out: int = 0  # of those done: too short or too long
    skipped: int = 0  # done before
    failed: int = 0
    failed_before: int = 0  # and not tried again
    changed: int = 0  # since they were done
    elapsed_seconds: float = 0.0

    @property
    def times_real_time(self) -> float:
        return self.seconds / max(self.elapsed_seconds, 1e-9)


def tokenize(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str = "builtin",
    form: str = "parquet",
    settings: Settings | None = None,
    audio_column: str | None = None,
    whole_keys: bool = False,
    shard_seconds: float = SHARD_SECONDS,
    retry_failed: bool = False,
    changed: Changed = "keep",
    hashes: bool = False,
    processes: int | None = None,
    device: str = "cpu",
    engine: str = "auto",
    dtype: str = "float32",
    chunk_seconds: float | None = None,
    runner: Runner = "local",
    address: str | None = None,
    run: Run | None = None,
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Tokenise recordings into a folder, resuming where an earlier run stopped.

    Args:
        sources, audio_column, whole_keys: see :class:`~dacodec.corpus.sources.Sources`.
        output: the folder; its layout is described in ``dacodec/corpus/folder.py``.
        model, device, engine, dtype, chunk_seconds: as for :meth:`dacodec.Codec.from_pretrained`.
        form: of the shards: ``"parquet"``, ``"tar"`` or ``"dacz"``.
        settings: how rows are made.
        shard_seconds: of audio in a shard, roughly.
        retry_failed: try inputs again that failed before.
        changed: ``"redo"`` inputs whose size or time changed since they were done, or ``"keep"`` what is there.
        hashes: detect changes by content, which is then read each time.
        processes: of the local runner. Left out, one per core, or a single one for a GPU.
        runner: ``"local"``, processes on this machine, or ``"ray"``, a Ray cluster.
        address: of the Ray cluster. Left out, the one that ``RAY_ADDRESS`` names, or a new one on this machine.
        run: does the work instead of a runner.
        progress: called with the report after each job; an exception from it ends the run.

    Raises:
        InputError, AudioError: if a source has no audio.
        OutputError: if the folder cannot be written, is in use, or holds rows made with other options.
        ModelMismatchError: if another model made its rows.
        ConfigError, CodesError, CheckpointError, EngineError: for options that are not valid.
    """
    settings = settings or Settings()
    if changed not in get_args(Changed):
        raise ConfigError(f"changed is {' or '.join(get_args(Changed))}, not {changed!r}")
    run = run or _runner(runner, address, processes, device)
    find_form(form)
    names = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    origin = Sources([os.fspath(name) for name in names], audio_column, whole_keys)
    fields = origin.fields()
    codec = load(Loading(model, engine="torch"))
    codec.choose_n_quantizers(1, settings.n_quantizers, settings.bitrate_kbps)
    about = About(
        codec.model,
        model,
        codec.n_codebooks,
        form,
        settings,
        {name: str(kind) for name, kind in fields.items()},
    )
    del codec
    work = Tokenizing(Loading(model, device, engine, dtype, 1, chunk_seconds), settings, about.model)
    with TokenFolder(Path(output), about, fields) as folder:
        folder.forgive(["listing", "coding"] if retry_failed else ["listing"])
        tokenizing = _Run(folder, shard_seconds, changed, hashes, progress)
        n = JOB_ITEMS if device == "cpu" else _JOB_ITEMS_GPU
        return tokenizing.all(lambda items: run(work, grouped(items, n)), origin.items())


def _runner(runner: Runner, address: str | None, processes: int | None, device: str) -> Run:
    if runner not in get_args(Runner):
        raise ConfigError(f"runner is {' or '.join(get_args(Runner))}, not {runner!r}")
    if runner == "ray":
        if processes is not None:
            raise ConfigError("Ray decides how many processes there are; leave processes (-j) out")
        return ray_run(address, device)
    if address is not None:
        raise ConfigError("an address is for the Ray runner (--runner ray)")
    return local_run(processes, device)


class _Run:
    """Gives inputs to the runner as they are listed, and puts its results into the folder."""

    def __init__(
        self,
        folder: TokenFolder,
        shard_seconds: float,
        changed: Changed,
        hashes: bool,
        progress: Callable[[Report], None] | None,
    ) -> None:
        self._folder, self._shard_seconds = folder, shard_seconds
        self._changed, self._hashes, self._progress = changed, hashes, progress
        self._out: dict[str, Item] = {}  # given to the runner, by key
        self._seen: set[int] = set()
        self._done: list[Done] = []  # not in the folder yet
        self._seconds = self._codes = 0.0  # of these
        self._started = time.monotonic()
        self.report = Report()

    def all(
        self,
        run: Callable[[Iterator[Item]], Iterator[list[Outcome]]],
        items: Iterator[Item | Unlisted],
    ) -> Report:
        try:
            for outcomes in run(self._wanted(items)):
                for outcome in outcomes:
                    self._take(outcome)
                    if self._is_full():
                        self._put()
                self._tell()
        except OutputError:
            raise
        except BaseException:  # Ctrl-C, say: what was done is kept
            self._put()
            raise
        self._put()
        self._tell()
        return self.report

    def _wanted(self, items: Iterator[Item | Unlisted]) -> Iterator[Item]:
        for item in items:
            if isinstance(item, Unlisted):
                self._fail(Failed(item.key, item.reason, "listing", item.address))
                continue
            number = hash(item.key)
            if number in self._seen:
                reason = f"another input has the key {item.key!r}; keys can be whole addresses (--whole-keys)"
                self._fail(Failed(f"{item.place.address}: {item.key}", reason, "listing", item.place.address))
                continue
            self._seen.add(number)
            if self._hashes:
                item = replace(item, stamp=_digest(item))
            if self._is_wanted(item):
                self._out[item.key] = item
                yield item

    def _is_wanted(self, item: Item) -> bool:
        if self._folder.stamp_of(item.key) is not None:
            if self._folder.is_same(item.key, item.stamp):
                self.report.skipped += 1
                return False
            self.report.changed += 1
            return self._changed == "redo"
        failure = self._folder.failure(item.key)
        if failure is not None and failure.stamp == item.stamp:
            self.report.failed_before += 1
            return False
        return True

    def _take(self, outcome: Outcome) -> None:
        item = self._out.pop(outcome.key)
        for line in outcome.warnings:
            warnings.warn(f"{item.key}: {line}", AudioWarning, stacklevel=2)
        if outcome.failure is not None:
            self._fail(Failed(item.key, outcome.failure, "coding", item.place.address, item.stamp))
            return
        report = self.report
        report.done += 1
        report.rows += len(outcome.rows)
        report.seconds += outcome.seconds
        report.left_out += not outcome.rows
        self._done.append(Done(item.key, item.stamp, outcome.rows, outcome.seconds, outcome.left_out))
        self._seconds += sum(row.encoded.duration_seconds for row in outcome.rows)
        self._codes += sum(row.encoded.codes.size for row in outcome.rows)

    def _fail(self, failed: Failed) -> None:
        self.report.failed += 1
        self._folder.fail(failed)

    def _is_full(self) -> bool:
        return (
            self._seconds >= self._shard_seconds
            or self._codes >= _SHARD_CODES
            or len(self._done) >= _SHARD_INPUTS
        )

    def _put(self) -> None:
        self._folder.put(self._done)
        self._done, self._seconds, self._codes = [], 0.0, 0

    def _tell(self) -> None:
        self.report.elapsed_seconds = time.monotonic() - self._started
        if self._progress is not None:
            self._progress(self.report)


def _digest(item: Item) -> str:
    def content() -> str:
        digest = blake2b(digest_size=16)
        with item.place.open() as file:
            if isinstance(file, str):
                with Path(file).open("rb") as opened:
                    _add(digest, opened)
            else:
                _add(digest, file)
        return digest.hexdigest()

    digest = attempted(content)
    return digest if isinstance(digest, str) else "unreadable"


def _add(digest: Any, file: Any) -> None:
    while block := file.read(1 << 20):
        digest.update(block)
