"""What runners run: work that comes in jobs, each of which is prepared (by reading, anywhere) and then done (by a model).

A job is some recordings, few enough to be in memory together. No torch here: processes start sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol


class Work(Protocol):
    """Can be pickled. ``prepare`` and what ``start`` returns run in processes of their own."""

    def prepare(self, job: Sequence[Any]) -> Any:
        """What needs no model."""
        ...

    def start(self) -> Callable[[Any], list[Any]]:
        """Loads the model; what it returns makes a job that is prepared into results, one for each of the job's."""
        ...

    def lost(self, one: Any, reason: str) -> Any:
        """The result of one whose process died, twice."""
        ...


class Run(Protocol):
    """Runs work on jobs, which it takes as fast as they are done."""

    def __call__(self, work: Work, jobs: Iterable[Sequence[Any]]) -> Iterator[list[Any]]: ...


def grouped(items: Iterator[Any], n: int) -> Iterator[list[Any]]:
    """Jobs of ``n`` items."""
    while group := list(islice(items, n)):
        yield group
