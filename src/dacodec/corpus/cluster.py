"""The Ray runner: tasks prepare jobs, and actors with a model each do them.

One loop in the driver gives out the work, so what a lost worker or node was doing is known and done again. An item that is
lost three times is given up. (Ray Data's pool of actors hung when actors died: docs/log.md.) Only this module imports Ray:
``pip install dacodec[ray]``.
"""

from __future__ import annotations

import os
import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dacodec.corpus.jobs import Run, Work
from dacodec.errors import DacodecError, EngineError, InstallationError

# CPUs that a task or an actor reserves. One of each fits on one CPU. Two actors with a whole CPU each would fill a node of
# two: no reading task could ever start.
_HEAVY, _LIGHT = 0.999, 0.001

_JOBS_AHEAD = 2  # per actor, read or being read: bounds the memory
_TRIES = 3  # of an item whose worker dies
_SCHEDULING_SECONDS = 120.0
# How many times as long nothing may be read: reading waits for a CPU, or for a source that hangs.
_STALLED = 5


def ray_run(address: str | None, device: str, scheduling_seconds: float = _SCHEDULING_SECONDS) -> Run:
    """Work on the cluster at ``address``; on this machine if it is None, unless ``RAY_ADDRESS`` names a cluster.

    Args:
        scheduling_seconds: how long to wait for room in the cluster.

    Raises:
        InstallationError: if Ray is not installed.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise InstallationError(f"the Ray runner needs Ray ({error}): pip install dacodec[ray]") from error
    return lambda work, jobs: _run(work, jobs, address, device, scheduling_seconds)


def _run(
    work: Work, jobs: Iterable[Sequence[Any]], address: str | None, device: str, scheduling_seconds: float
) -> Iterator[list[Any]]:
    from ray.exceptions import RayError

    with _connected(address):
        try:
            crew = _crew(work, device, scheduling_seconds)
            try:
                yield from crew.results(iter(jobs))
            finally:
                crew.dismiss()
        except RayError as error:
            raise EngineError(f"Ray could not do the work: {_first_line(error)}") from error


@dataclass
class _Job:
    items: Sequence[Any]
    tries: int = 0
    prepared: Any = None  # Ray's reference


@dataclass
class _Crew:
    """Actors, and the jobs that are waiting, being read, read and being done.

    Args:
        size: how many actors there are to be. A lost one is replaced as soon as there is room.
        prepare, coder: Ray's function for the tasks, and its class for the actors.
        scarce: what an actor needs one of, CPU or GPU.
    """

    work: Work
    size: int
    prepare: Any
    coder: Any
    scarce: str
    scheduling_seconds: float
    _again: deque[_Job] = field(default_factory=deque)
    _read: deque[_Job] = field(default_factory=deque)
    _idle: list[Any] = field(default_factory=list)
    # By the reference that Ray gives for what is awaited.
    _being_read: dict[Any, _Job] = field(default_factory=dict)
    _starting: dict[Any, Any] = field(default_factory=dict)
    _being_done: dict[Any, tuple[Any, _Job]] = field(default_factory=dict)
    _failed_starts: int = 0
    # Seconds of waiting, which do not include the listing of jobs.
    _without_actor: float = 0.0
    _without_progress: float = 0.0

    def results(self, jobs: Iterator[Sequence[Any]]) -> Iterator[list[Any]]:
        """The results of all ``jobs``, in any order."""
        import ray

        while self._give_out(jobs):
            awaited = [*self._being_read, *self._starting, *self._being_done]
            began = time.monotonic()
            done, _ = ray.wait(awaited, timeout=1.0)
            self._check_waiting(time.monotonic() - began, bool(done))
            for reference in done:
                if reference in self._being_read:
                    self._read.append(self._being_read.pop(reference))
                elif reference in self._starting:
                    self._started(reference)
                else:
                    yield from self._finished(reference)

    def dismiss(self) -> None:
        import ray

        for reference in self._being_read:
            ray.cancel(reference, force=True)
        for actor in [
            *self._idle,
            *self._starting.values(),
            *(actor for actor, _ in self._being_done.values()),
        ]:
            ray.kill(actor)

    def _give_out(self, jobs: Iterator[Sequence[Any]]) -> bool:
        """Start what can start; whether there is anything left to do."""
        while len(self._being_read) + len(self._read) < _JOBS_AHEAD * self.size:
            job = self._again.popleft() if self._again else _next_job(jobs)
            if job is None:
                break
            job.prepared = self.prepare.remote(self.work, job.items)
            self._being_read[job.prepared] = job
        while self._read and self._idle:
            actor, job = self._idle.pop(), self._read.popleft()
            self._being_done[actor.do.remote(job.prepared)] = actor, job
        if not (self._being_read or self._read or self._being_done):
            return False
        for _ in range(self.size - len(self._idle) - len(self._starting) - len(self._being_done)):
            actor = self.coder.remote(self.work)
            self._starting[actor.failure.remote()] = actor
        return True

    def _started(self, reference: Any) -> None:
        import ray
        from ray.exceptions import RayError

        actor = self._starting.pop(reference)
        try:
            failure = ray.get(reference)
        except RayError as error:  # as when its node was lost
            self._failed_starts += 1
            if self._failed_starts > _TRIES * self.size:
                raise EngineError(
                    f"no worker could start on the Ray cluster: {_first_line(error)} (is dacodec installed on all nodes?)"
                ) from error
            return
        if failure is not None:
            raise failure
        self._failed_starts = 0
        self._idle.append(actor)

    def _finished(self, reference: Any) -> Iterator[list[Any]]:
        import ray
        from ray.exceptions import RayActorError, RayError

        actor, job = self._being_done.pop(reference)
        job.prepared = None
        try:
            results = ray.get(reference)
        except RayActorError:
            yield from self._lost(job)
            return
        except RayError:  # what was read is lost, the actor is not
            self._idle.append(actor)
            yield from self._lost(job)
            return
        self._idle.append(actor)
        if isinstance(results, DacodecError):
            raise results
        yield results

    def _lost(self, job: _Job) -> Iterator[list[Any]]:
        """Each item is tried again alone, so that one that kills its worker does not take others with it."""
        tries = job.tries + 1
        if len(job.items) == 1 and tries >= _TRIES:
            yield [self.work.lost(job.items[0], "its Ray worker died or failed each time")]
            return
        self._again.extend(_Job([item], tries) for item in job.items)

    def _check_waiting(self, seconds: float, progress: bool) -> None:
        """Raise EngineError if there has been no actor, and no room for one, or no progress, for too long."""
        self._without_actor = 0.0 if self._idle or self._being_done else self._without_actor + seconds
        self._without_progress = 0.0 if progress or self._being_done else self._without_progress + seconds
        if self._without_actor > self.scheduling_seconds:
            raise _no_room(self.scarce, self.scheduling_seconds)
        if self._without_progress > (limit := _STALLED * self.scheduling_seconds):
            raise EngineError(
                f"nothing was read within {limit:g} s: the Ray cluster has no CPU free for reading (see `ray status`), "
                "or the source does not answer"
            )


def _next_job(jobs: Iterator[Sequence[Any]]) -> _Job | None:
    items = next(jobs, None)
    return None if items is None else _Job(items)


def _prepared(work: Work, items: Sequence[Any]) -> bytes:
    """As bytes: arrays in Ray's shared memory cannot be written to."""
    return pickle.dumps(work.prepare(items), 5)


class _Coder:
    """An actor with a model. Errors that any job would meet are returned, for the driver to raise."""

    def __init__(self, work: Work) -> None:
        self._failure: DacodecError | None = None
        try:
            self._do = work.start()
        except DacodecError as error:
            self._failure = error

    def failure(self) -> DacodecError | None:
        """Why the model could not be loaded."""
        return self._failure

    def do(self, prepared: bytes) -> Any:
        try:
            return self._do(pickle.loads(prepared))
        except DacodecError as error:
            return error


def _crew(work: Work, device: str, scheduling_seconds: float) -> _Crew:
    """As many actors as the cluster has room for now.

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
        raise _no_room(kind, scheduling_seconds)
    reading, coding = {"num_cpus": _LIGHT}, {"num_cpus": _HEAVY}
    if on_gpu:
        reading, coding = {"num_cpus": _HEAVY}, {"num_cpus": _LIGHT, "num_gpus": 1.0}
    prepare, coder = ray.remote(**reading)(_prepared), ray.remote(**coding)(_Coder)
    return _Crew(work, max(1, int(free)), prepare, coder, kind, scheduling_seconds)


def _no_room(kind: str, seconds: float) -> EngineError:
    import ray

    return EngineError(
        f"no node of the Ray cluster had a free {kind} within {seconds:g} s: it has "
        f"{ray.cluster_resources().get(kind, 0):g}, free are {ray.available_resources().get(kind, 0):g}; "
        "end other work there, or give the cluster more nodes"
    )


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


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
