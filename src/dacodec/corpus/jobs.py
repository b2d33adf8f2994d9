"""The contract between work and runners.

Work comes in jobs of a few recordings, which fit into memory together. A job is first prepared (read), which needs no
model, and then done by a model. No torch here: processes start sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol


class Work(Protocol):
    """Can be pickled. ``prepare``, and the function that ``start`` returns, run in other processes."""

    def prepare(self, job: Sequence[Any]) -> Any:
        """The part of a job that needs no model."""
        ...

    def start(self) -> Callable[[Any], list[Any]]:
        """Load the model. The function returned turns a prepared job into results, one per item."""
        ...

    def lost(self, one: Any, reason: str) -> Any:
        """The result of an item whose process died twice."""
        ...


class Run(Protocol):
    """A runner. Takes jobs as fast as it does them, and gives their results in any order."""

    def __call__(self, work: Work, jobs: Iterable[Sequence[Any]]) -> Iterator[list[Any]]: ...


def grouped(items: Iterator[Any], n: int) -> Iterator[list[Any]]:
    """Jobs of ``n`` items."""
    while group := list(islice(items, n)):
        yield group
