"""Tokens back to audio files."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dacodec.audio import AudioWriter, Samples
from dacodec.codec import Codec
from dacodec.corpus.coding import load, load_alone
from dacodec.corpus.folder import ABOUT, About, shards
from dacodec.corpus.forms import FORMS, ParquetForm, TarForm, file_name
from dacodec.corpus.jobs import Run, grouped
from dacodec.corpus.local import local_run
from dacodec.corpus.reading import LONG_SECONDS, Failure, attempted
from dacodec.corpus.rows import Row
from dacodec.corpus.settings import Loading
from dacodec.encoded import Encoded
from dacodec.errors import AudioError, CodesError, InputError, ModelMismatchError, OutputError
from dacodec.files import new_file

_JOB_ROWS = 16


@dataclass
class DecodeReport:
    """The outcome of a run. ``failures`` holds keys and reasons."""

    done: int = 0
    seconds: float = 0.0  # of audio
    skipped: int = 0  # their outputs exist
    failures: list[tuple[str, str]] = field(default_factory=list)
    elapsed_seconds: float = 0.0

    @property
    def times_real_time(self) -> float:
        return self.seconds / max(self.elapsed_seconds, 1e-9)


def detokenize(
    tokens: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    allow_other_model: bool = False,
    format: str = "wav",
    overwrite: bool = False,
    processes: int | None = None,
    device: str = "cpu",
    engine: str = "auto",
    dtype: str = "float32",
    run: Run | None = None,
    progress: Callable[[DecodeReport], None] | None = None,
) -> DecodeReport:
    """Decode rows of tokens to audio files, named after their keys. Existing files are skipped.

    Args:
        tokens: folders of tokens, or Parquet files and tars whose rows have at least ``key`` and ``codes``.
        output: a folder.
        model: by default the one that the tokens name.
        allow_other_model: as for :meth:`dacodec.Codec.decode`.
        format: of the audio files, such as ``"wav"`` or ``"flac"``.
        overwrite: replace outputs that exist.
        processes, device, engine, dtype, run, progress: as for :func:`~dacodec.corpus.tokenizing.tokenize`.

    Raises:
        InputError: if there are no tokens, or their model is unknown.
        OutputError: if the folder cannot be written, or a disk is full.
        ModelMismatchError: if the tokens are another model's.
    """
    names = [tokens] if isinstance(tokens, (str, os.PathLike)) else tokens
    paths = [path for name in names for path in _files(Path(name))]
    source = model or _source(Path(names[0]))
    codec = load(Loading(source, engine="torch"))
    about = codec.model
    for path in paths:
        _check(codec, path, allow_other_model)
    del codec
    AudioWriter(io.BytesIO(), about.sampling_rate, 1, format=format).close()  # raises for an unknown format
    work = Detokenizing(Loading(source, device, engine, dtype), allow_other_model, format, overwrite)
    report, started = DecodeReport(), time.monotonic()
    rows = _wanted(
        (row for path in paths for row in _form(path).read(path, about)), Path(output), work, report
    )
    run = run or local_run(processes, device)
    for written in run(work, grouped(rows, _JOB_ROWS)):
        for one in written:
            if one.failure is None:
                report.done += 1
                report.seconds += one.seconds
            else:
                report.failures.append((one.key, one.failure))
        report.elapsed_seconds = time.monotonic() - started
        if progress is not None:
            progress(report)
    return report


@dataclass(frozen=True)
class _Target:
    row: Row
    path: Path


@dataclass(frozen=True)
class Written:
    key: str
    seconds: float = 0.0
    failure: str | None = None


@dataclass(frozen=True)
class Detokenizing:
    """Rows to audio files."""

    loading: Loading
    allow_other_model: bool
    format: str
    overwrite: bool

    def prepare(self, job: Sequence[_Target]) -> Sequence[_Target]:
        return job

    def start(self) -> Callable[[Sequence[_Target]], list[Written]]:
        codec = load_alone(self.loading)
        return lambda job: list(self._written(codec, job))

    def lost(self, one: _Target, reason: str) -> Written:
        return Written(one.row.key, failure=reason)

    def _written(self, codec: Codec, job: Sequence[_Target]) -> Iterator[Written]:
        short = [t.row.encoded for t in job if t.row.encoded.duration_seconds <= LONG_SECONDS]
        batch = attempted(lambda: codec.decode_batch(short, allow_other_model=self.allow_other_model))
        together = iter([] if isinstance(batch, Failure) else batch)
        for target in job:
            encoded, failure = target.row.encoded, None
            at_once = encoded.duration_seconds <= LONG_SECONDS and not isinstance(batch, Failure)
            try:
                blocks = [next(together)] if at_once else self._blocks(codec, encoded)
                self._write(target.path, encoded, blocks)
            # Other errors, such as a full disk, would come again.
            except (AudioError, CodesError, ModelMismatchError) as error:
                failure = str(error)
            yield Written(target.row.key, encoded.duration_seconds, failure)

    def _blocks(self, codec: Codec, encoded: Encoded) -> Iterator[Samples]:
        codec.check_model(encoded.model, encoded.n_codebooks, self.allow_other_model)
        return codec.decode_blocks(
            [encoded.codes],
            encoded.sampling_rate,
            n_samples=encoded.n_samples,
            gain=encoded.gain,
            mid_side=encoded.mid_side,
        )

    def _write(self, path: Path, encoded: Encoded, blocks: Iterable[Samples]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {path.parent}: {error.strerror or error}") from None
        rate, length = encoded.sampling_rate, encoded.n_samples
        with (
            new_file(path, self.overwrite) as file,
            AudioWriter(file, rate, encoded.n_channels, format=self.format, n_samples=length) as writer,
        ):
            for block in blocks:
                writer.write(block)


def _wanted(rows: Iterator[Row], output: Path, work: Detokenizing, report: DecodeReport) -> Iterator[_Target]:
    taken: set[Path] = set()
    for row in rows:
        path = output / _named(row.key, work.format)
        if path in taken:
            report.failures.append((row.key, f"another row became {path}"))
        elif path.exists() and not work.overwrite:
            report.skipped += 1
        else:
            yield _Target(row, path)
        taken.add(path)


def _named(key: str, format: str) -> str:
    name, suffix = file_name(key), f".{format}"
    return name if name.lower().endswith(suffix) else name + suffix


def _files(path: Path) -> list[Path]:
    if (path / ABOUT).exists():
        return shards(path)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix in (".parquet", ".tar"))
        if not found:
            raise InputError(f"there are no tokens in {path}")
        return found
    if not path.exists():
        raise InputError(f"there is no {path}")
    return [path]


def _folder(path: Path) -> Path | None:
    """The folder of tokens that a file of tokens is in."""
    return next((p for p in (path, path.parent, path.parent.parent) if (p / ABOUT).exists()), None)


def _source(path: Path) -> str:
    folder = _folder(path)
    if folder is None:
        raise InputError(f"{path} does not say which model made it; name it (--model)")
    return About.read(folder).source


def _form(path: Path) -> Any:
    folder = _folder(path)
    if folder is not None:
        return FORMS[About.read(folder).form]
    return TarForm() if path.suffix == ".tar" else ParquetForm()


def _check(codec: Codec, path: Path, allow_other_model: bool) -> None:
    """Check that the first row can be decoded."""
    row = next(iter(_form(path).read(path, codec.model)), None)
    if row is not None:
        codec.check_model(row.encoded.model, row.encoded.n_codebooks, allow_other_model)
