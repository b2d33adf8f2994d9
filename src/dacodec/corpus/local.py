"""The local runner: spawned processes, each with its own model, that read ahead while they code.

When a process dies, its items are done again, one by one. An item that kills its process a second time is given up.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from dacodec.corpus.jobs import Run, Work
from dacodec.errors import DacodecError, EngineError

_JOBS_AHEAD = 2  # jobs that a process holds, including the current one
_STILLBORN = 3  # processes that may die before they are ready
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def local_run(processes: int | None, device: str) -> Run:
    """A runner for this machine. By default it has a process per core, or for a GPU one process with a reader per core."""
    from dacodec.engine.native.threads import cpu_quota, usable_cores  # loads torch

    cores = max(1, int(min(usable_cores(), cpu_quota())))
    if device == "cpu":
        return lambda work, jobs: run_local(work, jobs, processes or cores)
    return lambda work, jobs: run_local(work, jobs, processes or 1, readers=cores)


def run_local(
    work: Work, jobs: Iterable[Sequence[Any]], processes: int, readers: int = 1, threads: int = 1
) -> Iterator[list[Any]]:
    """The results of each of ``jobs``, in the order in which they are done.

    Args:
        jobs: taken only as fast as they are done.
        processes: each with a model.
        readers: threads that read ahead in each.
        threads: of NumPy and PyTorch in each.

    Raises:
        DacodecError: raised by ``work.start``, or by the function that it returned.
    """
    pool = _Pool(work, processes, readers, threads)
    try:
        yield from pool.run(deque(), iter(jobs))
    finally:
        pool.stop()


@dataclass(eq=False)
class _Job:
    number: int
    items: Sequence[Any]
    suspect: bool = False  # a process died while it had this job


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: Connection
    jobs: deque[_Job] = field(default_factory=deque)
    started: bool = False

    def takes(self, job: _Job) -> bool:
        """A suspect has a process to itself, which shows whether it was the cause."""
        if not self.started or any(own.suspect for own in self.jobs):
            return False
        return not self.jobs if job.suspect else len(self.jobs) < _JOBS_AHEAD


class _Pool:
    def __init__(self, work: Work, processes: int, readers: int, threads: int) -> None:
        self._work, self._readers, self._threads = work, readers, threads
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._stillborn = 0
        try:
            for _ in range(processes):
                self._workers.append(self._spawn())
        except BaseException:
            self.stop()
            raise

    def run(self, again: deque[_Job], jobs: Iterator[Sequence[Any]]) -> Iterator[list[Any]]:
        source = (_Job(i, items) for i, items in enumerate(jobs))
        waiting = next(source, None)
        while True:
            for worker in self._workers:
                while True:
                    job = again[0] if again else waiting
                    if job is None or not worker.takes(job):
                        break
                    if again:
                        again.popleft()
                    else:
                        waiting = next(source, None)
                    self._send(worker, job)
            if waiting is None and not again and not any(w.jobs for w in self._workers):
                return
            by_connection = {w.connection: w for w in self._workers}
            for ready in wait(list(by_connection)):
                yield from self._receive(by_connection[ready], again)  # type: ignore[index]

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []

    def _send(self, worker: _Worker, job: _Job) -> None:
        worker.jobs.append(job)
        with suppress(OSError):  # the process is dead, as receiving will show
            worker.connection.send(job.items)

    def _receive(self, worker: _Worker, again: deque[_Job]) -> Iterator[list[Any]]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._bury(worker, again)
            return
        if isinstance(message, DacodecError):
            raise message
        if message is None:
            worker.started = True
        else:
            worker.jobs.popleft()
            yield message

    def _bury(self, worker: _Worker, again: deque[_Job]) -> Iterator[list[Any]]:
        """Replace a dead process, and queue its items again."""
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        reason = f"its process died ({_ended(worker.process.exitcode)})"
        if not worker.started:
            self._stillborn += 1
            if self._stillborn > _STILLBORN:
                raise EngineError(f"processes die before they are ready ({_ended(worker.process.exitcode)})")
        for job in worker.jobs:
            if job.suspect and len(job.items) == 1:
                yield [self._work.lost(job.items[0], reason)]
            else:
                again.extend(_Job(job.number, [item], suspect=True) for item in job.items)
        self._workers.append(self._spawn())

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, pickle.dumps(self._work), self._readers)
        process = self._context.Process(target=_worker, args=arguments, daemon=True)
        with _environment({name: str(self._threads) for name in _THREADS}):
            process.start()
        theirs.close()
        return _Worker(process, ours)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, perhaps for lack of memory"
    return f"by signal {-code}" if code < 0 else f"exit code {code}"


# In the process


def _worker(connection: Connection, pickled: bytes, readers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    work: Work = pickle.loads(pickled)
    try:
        do = work.start()
    except DacodecError as error:
        connection.send(error)
        return
    connection.send(None)
    jobs: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    with ThreadPoolExecutor(readers) as pool:
        for prepared in _ahead(pool, work.prepare, jobs):
            try:
                connection.send(do(prepared))
            except DacodecError as error:  # other jobs would fail likewise
                connection.send(error)


def _listen(connection: Connection, jobs: SimpleQueue[Any]) -> None:
    while True:
        try:
            jobs.put(connection.recv())
        except (EOFError, OSError):  # the main process is gone
            os._exit(0)


def _ahead(pool: ThreadPoolExecutor, prepare: Callable[[Any], Any], jobs: SimpleQueue[Any]) -> Iterator[Any]:
    """Prepared jobs, in order, each prepared while those before it are worked on. Never ends."""
    waiting: deque[Future[Any]] = deque()
    while True:
        while not waiting or not jobs.empty():
            waiting.append(pool.submit(prepare, jobs.get()))
        yield waiting.popleft().result()
