"""The Ray runner: tasks of Ray Data prepare jobs, and a pool of actors, each with a model, does them.

Ray redoes reading that is lost with a node or a worker. Jobs that are lost with an actor are done again, and in the end
item by item; what is lost each time is given up.
Only this module imports Ray: ``pip install dacodec[ray]``.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dacodec.corpus.jobs import Run, Work
from dacodec.errors import DacodecError, EngineError, InstallationError

# CPUs that a task or an actor reserves. One of each fits on one CPU, and neither kind can fill a node of fewer than a thousand
# CPUs. Two actors with a whole CPU each would fill a node of two: no reading task could ever start.
_HEAVY, _LIGHT = 0.999, 0.001

_JOBS_PER_ACTOR = 256  # given to Ray at a time, so that the driver does not hold the whole corpus
_JOBS_IN_FLIGHT = 2  # per actor: one is coded, one waits
_RETRIES = 2  # by Ray itself, of reading
_SCHEDULING_SECONDS = 120.0


def ray_run(address: str | None, device: str, scheduling_seconds: float = _SCHEDULING_SECONDS) -> Run:
    """Work on the cluster at ``address``; on this machine if it is None, unless ``RAY_ADDRESS`` names a cluster.

    Args:
        scheduling_seconds: how long to wait for room in the cluster.

    Raises:
        InstallationError: if Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise InstallationError(f"the Ray runner needs Ray ({error}): pip install dacodec[ray]") from error
    return lambda work, jobs: _run(work, jobs, address, device, scheduling_seconds)


def _run(
    work: Work, jobs: Iterable[Sequence[Any]], address: str | None, device: str, scheduling_seconds: float
) -> Iterator[list[Any]]:
    from ray.exceptions import RayError

    source = iter(jobs)
    with _connected(address):
        try:
            pool = _pool(work, device, scheduling_seconds)
            while window := list(islice(source, pool.n_actors * _JOBS_PER_ACTOR)):
                yield from pool.results(window)
        except RayError as error:
            raise EngineError(f"Ray could not do the work: {_first_line(error)}") from error


@dataclass(frozen=True)
class _Pool:
    """How many actors there are, and the options of reading tasks and of actors."""

    work: Work
    n_actors: int
    reading: dict[str, Any]
    coding: dict[str, Any]

    def results(self, jobs: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
        """The results of all ``jobs``, in any order."""
        missing = dict(enumerate(jobs))
        error, n_before = None, len(jobs) + 1
        while missing and len(missing) < n_before:  # a node that is lost may cost a pass
            n_before = len(missing)
            error = yield from self._done(missing)
        if len(missing) == len(jobs) > 1:
            why = "is dacodec installed on all nodes?" if error is None else _first_line(error)
            raise EngineError(f"no job came back from Ray: {why}") from error
        alone: dict[int, Sequence[Any]] = dict(enumerate([item] for job in missing.values() for item in job))
        yield from self._done(alone)
        for [item] in alone.values():
            yield [self.work.lost(item, "its Ray worker died or failed each time")]

    def _done(self, missing: dict[int, Sequence[Any]]) -> Generator[list[Any], None, Exception | None]:
        """Results of the jobs that come back, which are removed from ``missing``. Returns what ended the pass early."""
        from ray.exceptions import RayError

        if not missing:
            return None
        try:
            for row in self._dataset(missing).iter_rows():
                results = pickle.loads(row["results"])
                if isinstance(results, DacodecError):
                    raise results
                del missing[row["number"]]
                yield results
        except RayError as error:  # as of an actor whose node died before it started
            return error
        return None

    def _dataset(self, jobs: dict[int, Sequence[Any]]) -> Any:
        import ray

        rows = [{"number": number, "job": pickle.dumps(job)} for number, job in jobs.items()]
        compute = ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=self.n_actors,
            max_size=self.n_actors,
            max_tasks_in_flight_per_actor=_JOBS_IN_FLIGHT,
        )
        with _settings():
            return (
                ray.data.from_items(rows, override_num_blocks=len(rows))
                .map(_prepared, fn_args=(self.work.prepare,), max_retries=_RETRIES, **self.reading)
                .map_batches(
                    _Coder,
                    fn_constructor_args=(self.work,),
                    batch_size=1,
                    compute=compute,
                    max_restarts=0,  # a dead one would wait for room that may not come, and its jobs with it
                    **self.coding,
                )
            )


def _prepared(row: dict[str, Any], prepare: Callable[[Any], Any]) -> dict[str, Any]:
    return {"number": row["number"], "prepared": pickle.dumps(prepare(pickle.loads(row["job"])), 5)}


class _Coder:
    """An actor with a model. Errors that any job would meet are returned, for the driver to raise."""

    _do: Callable[[Any], Any]

    def __init__(self, work: Work) -> None:
        try:
            self._do = work.start()
        except DacodecError as error:
            failure = error
            self._do = lambda _: failure

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            results = self._do(pickle.loads(batch["prepared"][0]))
        except DacodecError as error:
            results = error
        return {"number": batch["number"], "results": [pickle.dumps(results, 5)]}


def _pool(work: Work, device: str, scheduling_seconds: float) -> _Pool:
    """A pool as large as the cluster has room for now.

    Raises:
        EngineError: if it has none within ``scheduling_seconds``.
    """
    import ray

    on_gpu = device != "cpu"
    kind = "GPU" if on_gpu else "CPU"
    free = ray.available_resources().get(kind, 0)
    probe = ray.remote(num_cpus=1, num_gpus=int(on_gpu))(_nothing).remote()
    ready, _ = ray.wait([probe], timeout=scheduling_seconds)
    if not ready:
        ray.cancel(probe)
        raise EngineError(
            f"no node of the Ray cluster had a free {kind} within {scheduling_seconds:g} s: it has "
            f"{ray.cluster_resources().get(kind, 0):g}, free are {ray.available_resources().get(kind, 0):g}; "
            "end other work there, or give the cluster more nodes"
        )
    n_actors = max(1, int(free))
    if on_gpu:
        return _Pool(work, n_actors, {"num_cpus": _HEAVY}, {"num_cpus": _LIGHT, "num_gpus": 1.0})
    return _Pool(work, n_actors, {"num_cpus": _LIGHT, "concurrency": n_actors}, {"num_cpus": _HEAVY})


def _nothing() -> None:
    """A task that runs as soon as there is room."""


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, unless this process is connected to one already."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here reports to nobody
    try:
        ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"cannot connect to Ray at {address or 'this machine'}: {_first_line(error)}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _settings() -> Iterator[None]:
    """Ray Data's settings for data sets that are made in the block: blocks that fail are left out."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    before = context.copy()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    try:
        with warnings.catch_warnings():  # Ray 2.60 deprecates how retries are set, and has no other way yet
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        ray.data.DataContext._set_current(before)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
