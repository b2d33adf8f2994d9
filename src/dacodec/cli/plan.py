"""Which outputs belong to which inputs: files, folders and globs.

An output has its input's whole name plus its own suffix: ``a.wav`` becomes ``a.wav.dacz``. So the name does
not depend on any other file that exists now or later. Decoding first removes ``.dacz`` and then adds its
suffix unless it is there: ``a.wav.dacz`` becomes ``a.wav``.
"""

from __future__ import annotations

import errno
import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacodec.errors import InputError, OutputError

DACZ = ".dacz"
DACZ_SUFFIXES = frozenset([DACZ])


@dataclass(frozen=True)
class Job:
    source: Path
    output: Path


@dataclass(frozen=True)
class LeftOut:
    """Something found but not taken, though the user may have meant it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Plan:
    """The jobs. ``many``: the inputs were folders, globs or several files, so a failure does not stop the rest."""

    jobs: list[Job]
    many: bool
    left_out: tuple[LeftOut, ...] = ()
    passed_over: dict[str, int] = field(
        default_factory=dict
    )  # number of files in folders with a suffix that is not taken


@dataclass(frozen=True)
class _Found:
    source: Path
    place: Path  # where its output goes in the output folder, still with the source's name


def make_plan(
    inputs: Sequence[str],
    output: str | None,
    suffix: str,
    accepted: Collection[str],
    model: str | None = None,
) -> Plan:
    """Jobs for ``inputs``, each of them a file, a folder (with everything below it) or a glob.

    Below a folder, hidden files and folders, links to folders and broken links are left out. A link to a file
    is a file; a file found twice under one name is done once.

    Args:
        output: a file for a single input file; otherwise a folder, in which the trees of input folders and globs are
            mirrored. By default outputs go beside their inputs, and a single file's drops the input's suffix:
            ``a.dacz``.
        suffix: of the outputs, with its dot.
        accepted: suffixes of files to take from folders and globs.
        model: if it is a file, it counts as an input too.

    Raises:
        InputError: if an input does not exist, or nothing is found in it.
        OutputError: if two outputs would be the same file, or an output is an input.
    """
    if len(inputs) == 1 and not Path(inputs[0]).is_dir() and not _is_glob(inputs[0]):
        plan = Plan([_single(Path(inputs[0]), output, suffix)], many=False)
    else:
        found, left_out = _find_all(inputs, accepted)
        jobs = [Job(f.source, _named(_place(f, output), suffix)) for f in found]
        plan = Plan(jobs, many=True, left_out=tuple(left_out))
    _check_apart(plan.jobs, [job.source for job in plan.jobs] + ([Path(model)] if model else []))
    return plan


def _single(source: Path, output: str | None, suffix: str) -> Job:
    if output is None:
        return Job(source, source.with_suffix(suffix) if suffix == DACZ else _named(source, suffix))
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return Job(source, _named(Path(output, source.name), suffix))
    return Job(source, Path(output))


def _named(place: Path, suffix: str) -> Path:
    stem = place.name.removesuffix(DACZ)
    whole = stem != place.name and stem.lower().endswith(suffix)
    return place.with_name(stem if whole else stem + suffix)


def _place(found: _Found, output: str | None) -> Path:
    return found.source if output is None else Path(output) / found.place


# Finding


def passed_over(inputs: Sequence[str], accepted: Collection[str]) -> dict[str, int]:
    """The files in the input folders that are not taken, counted by suffix."""
    folders = [Path(name) for name in inputs if Path(name).is_dir()]
    suffixes = (Path(name).suffix.lower() for folder in folders for name in _names_below(folder))
    return dict(Counter(s or "(none)" for s in suffixes if s not in accepted).most_common())


def _names_below(folder: Path) -> Iterator[str]:
    for _, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (name for name in names if not name.startswith("."))


def all_suffixes(known: Collection[str], added: Sequence[str] | None) -> frozenset[str]:
    """The ``known`` suffixes plus the ``added`` ones, which may lack their dot."""
    return frozenset(known) | {"." + suffix.lower().lstrip(".") for suffix in added or ()}


def _is_glob(name: str) -> bool:
    return glob.has_magic(name) and not Path(name).exists()


def _find_all(inputs: Sequence[str], accepted: Collection[str]) -> tuple[list[_Found], list[LeftOut]]:
    found: dict[Path, _Found] = {}
    left_out: dict[Path, LeftOut] = {}
    for name in inputs:
        for item in _find(name, accepted):
            if isinstance(item, LeftOut):
                left_out.setdefault(item.path, item)
            else:
                found.setdefault(_spelt_once(item.source), item)
    return list(found.values()), list(left_out.values())


def _spelt_once(path: Path) -> Path:
    """One path for all spellings of a name, but not for two names of one file."""
    return Path(os.path.realpath(path.parent), path.name)


def _find(name: str, accepted: Collection[str]) -> Iterator[_Found | LeftOut]:
    path = Path(name)
    items: list[_Found | LeftOut]
    if path.is_dir():
        items = list(_below(path, accepted))
    elif _is_glob(name):
        matches = map(Path, glob.glob(name, recursive=True))  # noqa: PTH207  # any path, absolute ones too
        taken = [p for p in matches if p.suffix.lower() in accepted and not p.is_dir()]
        # The shortest path to a file first, in case links lead to it by others.
        items = [_checked(p, _fixed_part(name)) for p in sorted(taken, key=lambda p: (len(p.parts), p))]
    else:
        items = [_Found(path, Path(path.name))]
    if not items:
        raise InputError(
            f"nothing to do in {name}: no file there ends in one of {' '.join(sorted(accepted))}"
        )
    yield from items


def _fixed_part(pattern: str) -> Path:
    """The folder that all matches of a glob are in."""
    parts = Path(pattern).parts
    n_fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:n_fixed])


def _below(folder: Path, accepted: Collection[str]) -> Iterator[_Found | LeftOut]:
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(parent, name).is_symlink():
                yield LeftOut(Path(parent, name), "a link to a folder; name it to take its contents")
        for name in sorted(names):
            if Path(name).suffix.lower() in accepted and not name.startswith("."):
                yield _checked(Path(parent, name), folder)
    for error in unreadable:
        if Path(error.filename) == folder:
            raise InputError(f"cannot read the folder {folder}: {error.strerror}")
        yield LeftOut(Path(error.filename), f"it cannot be read: {error.strerror}")


def _checked(path: Path, root: Path) -> _Found | LeftOut:
    try:
        path.stat()
    except OSError as error:
        if path.is_symlink():
            return LeftOut(path, "a link in a circle" if error.errno == errno.ELOOP else "a link to nothing")
    return _Found(path, path.relative_to(root))


# Checking


def _check_apart(jobs: Sequence[Job], sources: Sequence[Path]) -> None:
    """Check, before any work, that no file is an output twice, or both an input and an output."""
    made: dict[Path, Job] = {}
    for job in jobs:
        other = made.setdefault(_spelt_once(job.output), job)
        if other is not job:
            raise OutputError(
                f"{other.source} and {job.source} would both become {job.output}; code one of them separately, with another output"
            )
    read = {identity: source for source in sources if (identity := _identity(source))}
    for job in jobs:
        source = read.get(_identity(job.output) or (-1, -1))
        if source is not None:
            raise OutputError(
                f"{job.output} is the input {source} itself, which would be lost; give the output another name"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for all names of a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
