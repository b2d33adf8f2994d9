"""The local runner does all the work, whichever process dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workers import Doubling

from dacodec.corpus.local import run_local
from dacodec.errors import CheckpointError


def run(jobs, **options):
    results = dict(one for some in run_local(Doubling(), jobs, **{"processes": 2, **options}) for one in some)
    assert len(results) == sum(map(len, jobs))
    return results


def test_all_jobs_are_done_once():
    assert run([[i, i + 1] for i in range(0, 40, 2)], readers=3) == {i: 2 * i for i in range(40)}


def test_no_jobs_at_all():
    assert run([]) == {}


def test_jobs_are_taken_only_as_fast_as_they_are_done():
    taken = []

    def jobs():
        for i in range(100):
            taken.append(i)
            yield [i]

    for n, _ in enumerate(run_local(Doubling(), jobs(), processes=2)):
        assert len(taken) <= n + 2 * 2 + 2


def test_what_kills_its_process_is_given_up_and_nothing_else(tmp_path):
    once = f"once {tmp_path / 'died'}"
    results = run([[0, 1], [2, "die", 3], [4, 5], [once, 6], [7]])
    assert results.pop("die") == "its process died (killed, perhaps for lack of memory)"
    assert results.pop(once) == "done"
    assert results == {i: 2 * i for i in range(8)}


def test_a_model_that_cannot_be_loaded():
    with pytest.raises(CheckpointError, match="there are no weights"):
        list(run_local(Doubling(fails_to_start=True), [[1]], processes=2))


def test_processes_end_with_whoever_started_them(tmp_path):
    """Even if that is killed, and so cannot stop them."""
    program = f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}
from workers import Doubling
from dacodec.corpus.local import run_local
import multiprocessing
if __name__ == "__main__":
    running = run_local(Doubling(), iter([[1], ["slow"]] * 9), processes=2)
    next(running)
    print(*(p.pid for p in multiprocessing.active_children()), flush=True)
    next(running); next(running)
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    main = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in main.stdout.readline().split()]
    assert len(children) == 2
    main.kill()
    main.wait()
    main.stdout.close()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() and _is_alive(pid) for pid in children):
            return
        time.sleep(0.1)
    raise AssertionError("they are still there")


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_get_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run([[1]])
    assert os.environ["OMP_NUM_THREADS"] == "5"
