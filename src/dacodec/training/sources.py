"""The recordings to train on: in folders, globs and tar files, each in a named pool.

A source is a path, or ``POOL=path``, which puts everything there into one pool; ``builtin`` is ten seconds of speech
included in the package, to try things out (``./builtin`` is a folder of that name). If no pool is named, a table
``files.tsv`` beside the files (columns ``file`` and ``pool``, optionally ``split`` and ``source_rate``) names the pool of
each file; without a table it is the name of the file's folder. Rows of another split are left out, so that validation
data is never trained on by mistake. The rate of a file may say nothing about its bandwidth (Opus always decodes to
48 kHz); ``source_rate`` is that of the original recording.

torch is not imported, so that decoding processes start faster.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dacodec.audio import AUDIO_SUFFIXES
from dacodec.errors import InputError

TABLE = "files.tsv"
BUILTIN = "builtin"
CLIPS = Path(__file__).with_name("clips")


@dataclass(frozen=True)
class Recording:
    """An audio file, loose or within a tar."""

    pool: str
    path: str  # of the file, or of the tar
    member: str  # name within the tar; empty for a loose file
    offset: int  # of its content within the file at ``path``
    size: int  # bytes
    source_rate: int = 0  # Hz, of the original recording; 0 if unknown

    @property
    def name(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path

    def content(self) -> bytes:
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Unit:
    """Recordings that are decoded, stored and loaded together: a tar, or the loose files of one source."""

    origin: str
    recordings: tuple[Recording, ...]
    problem: str = ""  # why the origin cannot be read

    @property
    def key(self) -> str:
        """Changes when a file is replaced."""
        digest = hashlib.sha256(self.origin.encode())
        for path in sorted({r.path for r in self.recordings}):
            status = Path(path).stat()
            digest.update(f"\n{path} {status.st_size} {status.st_mtime_ns}".encode())
        for r in self.recordings:
            digest.update(f"\n{r.pool} {r.member}".encode())
        return digest.hexdigest()[:16]


def find_units(sources: Sequence[str], split: str = "train") -> list[Unit]:
    """The units of ``sources``, in a fixed order.

    Raises:
        InputError: if a source that is not a pattern does not exist.
    """
    units = []
    for source in sources:
        pool, equals, pattern = source.rpartition("=")
        if not equals:
            pool, pattern = "", source
        if pattern == BUILTIN:
            pattern = glob.escape(str(CLIPS))
        paths = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207  # patterns may be absolute
        if not paths and not glob.has_magic(pattern):
            raise InputError(f"{pattern} does not exist; correct data.sources")
        units += [_tar_unit(path, pool, split) for path in paths if path.suffix == ".tar"]
        loose = [r for path in paths if path.suffix != ".tar" for r in _loose(path, pool, split)]
        if loose:
            units.append(Unit(source, tuple(dict.fromkeys(loose))))
    return [unit for unit in units if unit.recordings or unit.problem]


def _tar_unit(path: Path, pool: str, split: str) -> Unit:
    try:
        with tarfile.open(path, "r:") as archive:
            members = [m for m in archive.getmembers() if m.isfile()]
            tables = {
                Path(m.name).parent: _table(archive.extractfile(m).read(), split)  # type: ignore[union-attr]
                for m in members
                if Path(m.name).name == TABLE
            }
    except (tarfile.TarError, OSError, EOFError) as error:
        return Unit(str(path), (), f"damaged or incomplete tar: {error}")
    found = [
        Recording(row.pool, str(path), m.name, m.offset_data, m.size, row.source_rate)
        for m in members
        if not _is_hidden(Path(m.name))
        and (row := _row_of(Path(m.name), tables.get(Path(m.name).parent), pool))
    ]
    return Unit(str(path), tuple(found))


def _loose(path: Path, pool: str, split: str) -> Iterator[Recording]:
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(path)))
    tables = {
        p.parent: _table(p.read_bytes(), split) for p in {f.parent / TABLE for f in files} if p.is_file()
    }
    for file in files:
        row = _row_of(file, tables.get(file.parent), pool)
        if row:
            yield Recording(row.pool, str(file), "", 0, file.stat().st_size, row.source_rate)


def _is_hidden(place: Path) -> bool:
    """Whether a file, or a folder between it and the source, is hidden."""
    return any(part.startswith(".") for part in place.parts if part != "..")


class _Row(NamedTuple):
    pool: str
    source_rate: int = 0


def _row_of(file: Path, table: dict[str, _Row] | None, pool: str) -> _Row | None:
    """The facts about a file; None if it is not to be used."""
    if file.suffix.lower() not in AUDIO_SUFFIXES:
        return None
    if table is None:
        return _Row(pool or file.parent.name)
    row = table.get(file.name)
    return row._replace(pool=pool) if row and pool else row


def _table(content: bytes, split: str) -> dict[str, _Row]:
    """Rows of one split, by file name."""
    rows = csv.DictReader(io.StringIO(content.decode()), delimiter="\t")
    return {
        row["file"]: _Row(row["pool"], int(row.get("source_rate") or 0))
        for row in rows
        if row.get("split", split) == split
    }
