"""Which outputs come of which inputs: files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacodec.errors import InputError

DACZ_SUFFIXES = frozenset([".dacz"])


@dataclass(frozen=True)
class Job:
    source: Path
    output: Path


@dataclass(frozen=True)
class Plan:
    """``many``: inputs were folders, globs or several files, so that one that fails does not end the rest."""

    jobs: list[Job]
    many: bool
    passed_over: dict[str, int] = field(
        default_factory=dict
    )  # files in folders, by a suffix that is not taken


@dataclass(frozen=True)
class _Found:
    source: Path
    place: Path  # where its output goes in the output folder, still with the source's suffix


def make_plan(inputs: Sequence[str], output: str | None, suffix: str, accepted: Collection[str]) -> Plan:
    """Jobs for ``inputs``, each of them a file, a folder (taken with all below it) or a glob.

    Args:
        output: a file for a single input file; otherwise a folder, in which the trees of input folders are
            mirrored. Left out, outputs stand beside their inputs.
        suffix: of the outputs, with its dot.
        accepted: suffixes of the files that are taken from folders and globs.

    Raises:
        InputError: if an input is not there, or nothing is found in it.
    """
    single = len(inputs) == 1 and not Path(inputs[0]).is_dir() and not _is_glob(inputs[0])
    if single and output is not None and not output.endswith(("/", os.sep)) and not Path(output).is_dir():
        return Plan([Job(Path(inputs[0]), Path(output))], many=False)
    found = {os.path.realpath(f.source): f for name in inputs for f in _find(name, accepted)}  # each once
    places = [_Found(f.source, _place(f, output)) for f in found.values()]
    return Plan(_keep_apart(places, suffix), many=not single)


def passed_over(inputs: Sequence[str], accepted: Collection[str]) -> dict[str, int]:
    """Files in the input folders that are not taken, counted by suffix."""
    folders = [Path(name) for name in inputs if Path(name).is_dir()]
    names = (name for folder in folders for _, _, names in os.walk(folder) for name in names)
    suffixes = (Path(name).suffix.lower() for name in names if not name.startswith("."))
    return dict(Counter(s or "(none)" for s in suffixes if s not in accepted).most_common())


def all_suffixes(known: Collection[str], added: Sequence[str] | None) -> frozenset[str]:
    """``known`` ones and those that are ``added``, with or without their dot."""
    return frozenset(known) | {"." + suffix.lower().lstrip(".") for suffix in added or ()}


def _is_glob(name: str) -> bool:
    return glob.has_magic(name) and not Path(name).exists()


def _find(name: str, accepted: Collection[str]) -> Iterator[_Found]:
    path = Path(name)
    if path.is_dir():
        found = [_Found(p, p.relative_to(path)) for p in _files_below(path, accepted)]
    elif _is_glob(name):
        matches = map(Path, sorted(glob.glob(name, recursive=True)))  # noqa: PTH207  # any path, absolute ones too
        found = [_Found(p, Path(p.name)) for p in matches if p.suffix.lower() in accepted and p.is_file()]
    else:
        found = [_Found(path, Path(path.name))]
    if not found:
        raise InputError(
            f"nothing to do in {name}: no file there ends in one of {' '.join(sorted(accepted))}"
        )
    yield from found


def _files_below(folder: Path, accepted: Collection[str]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in accepted and not name.startswith("."):
                yield Path(parent, name)


def _place(found: _Found, output: str | None) -> Path:
    return found.source if output is None else Path(output) / found.place


def _keep_apart(places: Sequence[_Found], suffix: str) -> list[Job]:
    """``a.wav`` and ``a.flac`` would both become ``a.dacz``: they keep their suffixes, and if need be get numbers."""
    plain = Counter(f.place.with_suffix(suffix) for f in places)
    taken: set[Path] = set()
    jobs = []
    for f in places:
        output = f.place.with_suffix(suffix)
        if plain[output] > 1:
            output = f.place.with_name(f.place.name + suffix)
        stem, number = output.name.removesuffix(suffix), 2
        while output in taken:
            output, number = output.with_name(f"{stem}-{number}{suffix}"), number + 1
        taken.add(output)
        jobs.append(Job(f.source, output))
    return jobs
