"""A folder of tokens: complete shards, the inputs of each, and the failures.

    tokens.json                    the model, the settings and the columns, the same for all rows
    shards/part-000000.parquet
    manifest/part-000000.parquet   the inputs of that shard: key, stamp, number of rows, or why there are none
    failed.parquet                 the inputs that failed, with the reason

A shard counts once its manifest exists, which is written after it. A manifest may name shards that it replaces: its own
shard has the rows that are still wanted of them, and they are removed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from dacodec.corpus.forms import Form, find_form, read_parquet, write_parquet
from dacodec.corpus.rows import Row
from dacodec.corpus.settings import Settings
from dacodec.encoded import Model
from dacodec.errors import FormatError, InputError, ModelMismatchError, OutputError
from dacodec.files import new_file, sweep
from dacodec.locking import LOCK_FILE, lock

VERSION = 1
ABOUT = "tokens.json"
FAILED = "failed.parquet"

Stage = Literal["listing", "coding"]

_NAME = re.compile(r"part-(\d{6,})\.(parquet|tar)")
_MANIFEST = pa.schema(
    [
        ("key", pa.string()),
        ("stamp", pa.string()),
        ("rows", pa.int32()),
        ("seconds", pa.float64()),  # of audio that was read
        ("left_out", pa.string()),  # why there are no rows
    ]
)
_FAILED = pa.schema(
    [
        ("key", pa.string()),
        ("reason", pa.string()),
        ("stage", pa.string()),
        ("address", pa.string()),
        ("stamp", pa.string()),
        ("time", pa.timestamp("s", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Done:
    """An input that has been processed."""

    key: str
    stamp: str
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    left_out: str | None = None


@dataclass(frozen=True)
class Failed:
    key: str
    reason: str
    stage: Stage = "coding"
    address: str = ""
    stamp: str = ""


@dataclass(frozen=True)
class About:
    """What the rows of a folder have in common. ``source`` is where the model was loaded from."""

    model: Model
    source: str
    n_codebooks: int
    form: str
    settings: Settings
    columns: Mapping[str, str]

    def to_json(self) -> str:
        model = {**asdict(self.model), "fingerprint": self.model.fingerprint.hex()}
        return json.dumps(
            {"dacodec_tokens": VERSION, "frames_per_second": self.model.frames_per_second}
            | {**asdict(self), "model": model},
            indent=1,
        )

    @staticmethod
    def read(folder: Path) -> About:
        """
        Raises:
            InputError: if the folder has none.
            FormatError: if it is damaged, or of another version.
        """
        try:
            values = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{folder} is not a folder of tokens: it has no {ABOUT}") from error
        except ValueError as error:
            raise FormatError(f"{folder / ABOUT} is damaged: {error}") from None
        if not isinstance(values, dict) or values.get("dacodec_tokens") != VERSION:
            raise FormatError(f"{folder / ABOUT} is not of version {VERSION}; a newer dacodec may read it")
        try:
            model = values["model"]
            return About(
                Model(**{**model, "fingerprint": bytes.fromhex(model["fingerprint"])}),
                values["source"],
                values["n_codebooks"],
                values["form"],
                Settings(**values["settings"]),
                values["columns"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder / ABOUT} is damaged: {error!r}") from None


class TokenFolder:
    """A folder that one process at a time adds rows to. A context manager.

    Raises:
        OutputError: if it holds something else or rows made with other options, is in use, or cannot be written.
        ModelMismatchError: if another model made its rows. Codes of two models must not mix.
    """

    _failed: dict[str, Failed]

    def __init__(self, path: Path, about: About, fields: Mapping[str, pa.DataType]) -> None:
        self.path, self.about, self._fields = path, about, fields
        self._form: Form = find_form(about.form)
        try:
            for name in ("shards", "manifest"):
                (path / name).mkdir(parents=True, exist_ok=True)
            self._lock: TextIO = lock(path, "writing tokens")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> TokenFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    # Reading

    def stamp_of(self, key: str) -> int | None:
        """A hash of the stamp of a finished input; None if the input is not finished."""
        found = self._done.get(_hash(key))
        return None if found is None else found & _STAMP

    def is_same(self, key: str, stamp: str) -> bool:
        """Whether a finished input is unchanged."""
        return self.stamp_of(key) == _hash(stamp) & _STAMP

    def failure(self, key: str) -> Failed | None:
        return self._failed.get(key)

    @property
    def n_failed(self) -> int:
        return len(self._failed)

    def forgive(self, stages: Iterable[Stage]) -> None:
        """Forget failures, so that they are tried again."""
        self._failed = {key: f for key, f in self._failed.items() if f.stage not in set(stages)}

    # Writing

    def put(self, done: Sequence[Done]) -> None:
        """Write a shard with the rows of these inputs, and the failures so far. Earlier rows of the inputs are removed.

        Raises:
            OutputError: if it cannot be written. What was there before is still there.
        """
        replaced = sorted({shard for d in done if (shard := self._shard_of(d.key)) is not None})
        kept = [one for shard in replaced for one in self._kept(shard, {d.key for d in done})]
        everything = [*kept, *done]
        if everything:
            self._write(self._next, everything, replaced)
            self._next += 1
        self._write_failed()

    def fail(self, failed: Failed) -> None:
        """Note a failure, to be written with the next :meth:`put`."""
        self._failed[failed.key] = failed

    def _write(self, number: int, done: Sequence[Done], replaced: Sequence[int]) -> None:
        shard, manifest = self._shard(number), self._manifest(number)
        rows = [row for d in done for row in d.rows]
        if rows:
            self._form.write(shard, rows, self._fields)
        columns = {
            "key": [d.key for d in done],
            "stamp": [d.stamp for d in done],
            "rows": [len(d.rows) for d in done],
            "seconds": [d.seconds for d in done],
            "left_out": [d.left_out for d in done],
        }
        metadata = {"replaces": json.dumps([self._shard(n).name for n in replaced])}
        write_parquet(manifest, pa.table(columns, _MANIFEST).replace_schema_metadata(metadata))
        for d in done:
            self._note(d.key, d.stamp, number)
            self._failed.pop(d.key, None)
        for n in replaced:
            self._remove(n)

    def _kept(self, number: int, without: set[str]) -> Iterator[Done]:
        """The inputs of a shard, without some of them."""
        shard = self._shard(number)
        rows = self._form.read(shard, self.about.model) if shard.exists() else iter(())
        for batch in read_parquet(self._manifest(number)):
            for values in batch.to_pylist():
                own = tuple(next(rows) for _ in range(values["rows"]))
                if values["key"] not in without:
                    yield Done(values["key"], values["stamp"], own, values["seconds"], values["left_out"])

    def _write_failed(self) -> None:
        path = self.path / FAILED
        if not self._failed:
            path.unlink(missing_ok=True)
            return
        now = datetime.now(timezone.utc).replace(microsecond=0)
        records = [{**asdict(f), "time": now} for f in self._failed.values()]
        write_parquet(path, pa.Table.from_pylist(records, _FAILED), overwrite=True)

    # Opening

    def _begin(self) -> None:
        sweep(self.path)
        about = self.path / ABOUT
        if about.exists():
            self._check(About.read(self.path))
        else:
            strange = {p.name for p in self.path.iterdir()} - {"shards", "manifest", LOCK_FILE}
            if strange or any((self.path / "shards").iterdir()):
                raise OutputError(
                    f"{self.path} holds {', '.join(sorted(strange)) or 'shards'} and no {ABOUT}: "
                    "it is not a folder of tokens; give a new one"
                )
            with new_file(about) as file:
                file.write(self.about.to_json().encode())
        for name in ("shards", "manifest"):
            sweep(self.path / name)
        self._mend()
        self._failed = {f.key: f for f in failures(self.path)}

    def _check(self, theirs: About) -> None:
        mine = self.about
        if theirs.model != mine.model:
            raise ModelMismatchError(
                f"the tokens in {self.path} were made by {theirs.model.name!r} ({theirs.model.fingerprint.hex()[:12]}), not "
                f"by {mine.model.name!r} ({mine.model.fingerprint.hex()[:12]}); give another folder"
            )
        theirs = replace(theirs, source=mine.source)
        for name in ("form", "settings", "columns"):
            was, now = getattr(theirs, name), getattr(mine, name)
            if was != now:
                raise OutputError(
                    f"the tokens in {self.path} were made with other options ({_difference(was, now)}); "
                    "give the same options, or another folder"
                )

    def _mend(self) -> None:
        """Clean up after a kill: remove shards without a manifest, and those that were replaced."""
        manifests = {
            int(m[1]): p for p in (self.path / "manifest").iterdir() if (m := _NAME.fullmatch(p.name))
        }
        replaced: set[int] = set()
        for path in manifests.values():
            names = json.loads((pq.read_schema(path).metadata or {}).get(b"replaces", b"[]"))
            replaced |= {int(m[1]) for name in names if (m := _NAME.fullmatch(name))}
        shards = {int(m[1]) for p in (self.path / "shards").iterdir() if (m := _NAME.fullmatch(p.name))}
        for number in replaced & set(manifests) | shards - set(manifests):
            self._remove(number)
            manifests.pop(number, None)
        self._done: dict[int, int] = {}
        for number, path in manifests.items():
            for batch in read_parquet(path, ["key", "stamp"]):
                for key, stamp in zip(*(batch.column(n).to_pylist() for n in ("key", "stamp")), strict=True):
                    self._note(key, stamp, number)
        self._next = max([-1, *shards, *manifests, *replaced]) + 1

    # Names

    def _shard(self, number: int) -> Path:
        return self.path / "shards" / f"part-{number:06}{self._form.suffix}"

    def _manifest(self, number: int) -> Path:
        return self.path / "manifest" / f"part-{number:06}.parquet"

    def _remove(self, number: int) -> None:
        for path in (
            self._manifest(number),
            self._shard(number),
        ):  # without its manifest a shard does not count
            with suppress(FileNotFoundError):
                path.unlink()

    def _note(self, key: str, stamp: str, shard: int) -> None:
        self._done[_hash(key)] = shard << 32 | _hash(stamp) & _STAMP

    def _shard_of(self, key: str) -> int | None:
        found = self._done.get(_hash(key))
        return None if found is None else found >> 32


_STAMP = (1 << 32) - 1


def failures(folder: Path) -> Iterator[Failed]:
    """The inputs that failed."""
    if (folder / FAILED).exists():
        for batch in read_parquet(folder / FAILED):
            yield from (Failed(**{k: v for k, v in r.items() if k != "time"}) for r in batch.to_pylist())


def shards(folder: Path) -> list[Path]:
    """The shards that have a manifest."""
    names = {p.stem for p in (folder / "manifest").glob("part-*.parquet")}
    return sorted(p for p in (folder / "shards").iterdir() if _NAME.fullmatch(p.name) and p.stem in names)


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little"
    )


def _difference(was: Any, now: Any) -> str:
    if isinstance(was, Settings):
        was, now = was.to_dict(), now.to_dict()
    if isinstance(was, Mapping):
        names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        return "; ".join(f"{name}: {was.get(name)} there, {now.get(name)} now" for name in names)
    return f"{was} there, {now} now"
