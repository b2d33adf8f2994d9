"""Work on many files: in parallel, with progress, continuing after failures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dacodec.cli import warned
from dacodec.cli.messages import complain, say
from dacodec.cli.plan import Job, Plan
from dacodec.errors import DacodecError, OutputError
from dacodec.files import sweep

Report = Callable[[float, "float | None"], None]  # seconds of audio done, and the total
Run = Callable[[Job, Report], str]  # does a job and returns a line about it


class _Stopped(Exception):
    """Raised in a running job when the others were interrupted."""


class _Tally:
    """What was done so far. Thread-safe."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self.done = self.failed = 0
        self.seconds = 0.0  # of audio

    def add(self, done: int = 0, failed: int = 0, seconds: float = 0.0) -> None:
        with self._lock:
            self.done += done
            self.failed += failed
            self.seconds += seconds

    @property
    def speed(self) -> str:
        return f"{self.seconds / max(time.monotonic() - self._started, 1e-9):.1f}x real time"


def work(plan: Plan, run: Run, n_jobs: int = 1, overwrite: bool = False) -> int:
    """Do all jobs; returns the exit code.

    A single file prints its own result and raises its own error. With many, those whose outputs exist are
    skipped, a failure is reported and the rest continue, and a summary covers them all and what was left out.
    """
    tally = _Tally()
    if not plan.many:
        with _meter(plan.jobs, tally) as meter:
            line = run(plan.jobs[0], meter(0))
        say(line)
        return 0
    for folder in {job.output.parent for job in plan.jobs}:
        sweep(folder)
    jobs = [job for job in plan.jobs if overwrite or not job.output.exists()]
    make_folders(jobs)
    warned_before = warned.count()
    _run_all(jobs, run, n_jobs, tally)
    minutes, seconds = divmod(round(tally.seconds), 60)
    print(
        f"{tally.done} done ({minutes // 60}:{minutes % 60:02}:{seconds:02} of audio, {tally.speed}), "
        f"{len(plan.jobs) - len(jobs)} skipped (their outputs exist), {tally.failed} failed"
        + (f", {n} warning(s)" if (n := warned.count() - warned_before) else "")
        + (f", {len(plan.left_out)} left out:" if plan.left_out else "")
    )
    for left_out in plan.left_out:
        say(f"  {left_out.path}: {left_out.reason}")
    if plan.passed_over:
        by_suffix = ", ".join(f"{n} {suffix}" for suffix, n in plan.passed_over.items())
        say(f"not taken, not audio by suffix: {by_suffix} (--suffix adds more)")
    return 1 if tally.failed else 0


def make_folders(jobs: Sequence[Job]) -> None:
    """Create the folders that outputs go to."""
    for folder in sorted({job.output.parent for job in jobs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from None


def _run_all(jobs: Sequence[Job], run: Run, n_jobs: int, tally: _Tally) -> None:
    stop = threading.Event()

    def one(i: int) -> None:
        report = meter(i)

        def report_or_stop(done: float, total: float | None) -> None:
            if stop.is_set():
                raise _Stopped
            report(done, total)

        try:
            run(jobs[i], report_or_stop)
            tally.add(done=1)
        except DacodecError as error:
            tally.add(failed=1)
            # The message names what cannot be read or written.
            complain(error if str(error).startswith("cannot ") else f"{jobs[i].source}: {error}")

    with _meter(jobs, tally) as meter:
        if n_jobs == 1:
            for i in range(len(jobs)):
                one(i)
            return
        with ThreadPoolExecutor(n_jobs) as pool:
            try:
                for future in as_completed([pool.submit(one, i) for i in range(len(jobs))]):
                    future.result()
            finally:  # after Ctrl-C, say: running jobs stop at their next block
                stop.set()
                pool.shutdown(cancel_futures=True)


@contextmanager
def _meter(jobs: Sequence[Job], tally: _Tally) -> Iterator[Callable[[int], Report]]:
    """A progress bar over the bytes of all inputs, only on a terminal; gives each job's report function."""
    console = Console(stderr=True)
    sizes = [_size(job.source) for job in jobs]
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    # Before version 15, rich ends a disabled bar, too, with an empty line.
    with progress if console.is_terminal else contextlib.nullcontext():
        task = progress.add_task("starting", total=sum(sizes) or None)

        def report_of(i: int) -> Report:
            seconds_before = bytes_before = 0.0

            def report(seconds: float, total: float | None) -> None:
                nonlocal seconds_before, bytes_before
                tally.add(seconds=seconds - seconds_before)
                done = sizes[i] * min(seconds / total, 1.0) if total else 0.0
                progress.update(task, advance=done - bytes_before, description=tally.speed)
                seconds_before, bytes_before = seconds, done

            return report

        yield report_of


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
