"""The Ray runner on a cluster of two nodes on this machine, one of which is killed in the end."""

import os
import sys
import time

import inline
import made
import numpy as np
import pytest
import ray
from models import save_model
from ray.cluster_utils import Cluster
from workers import Doubling

from dacodec.corpus.cluster import ray_run
from dacodec.corpus.folder import About, shards
from dacodec.corpus.forms import FORMS
from dacodec.corpus.tokenizing import tokenize
from dacodec.errors import CheckpointError, ConfigError, EngineError

WORK = Doubling(prepares_elsewhere=True)
N_RECORDINGS = 128


@pytest.fixture(scope="module")
def second_node():
    """A function that kills the second node of the cluster that this process is connected to."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    path = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=path)
    yield lambda: cluster.remove_node(second, allow_graceful=False)
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(
        save_model(tmp_path_factory.mktemp("model"), downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    )


@pytest.mark.usefixtures("second_node")
def test_what_kills_its_worker_is_given_up_and_nothing_else():
    results = dict(one for some in ray_run(None, "cpu")(WORK, [[0, 1], ["die", 2], [3]]) for one in some)
    assert "died or failed" in results.pop("die")
    assert results == {i: 2 * i for i in range(4)}


@pytest.mark.usefixtures("second_node")
def test_a_model_that_cannot_be_loaded():
    with pytest.raises(CheckpointError, match="there are no weights"):
        list(ray_run(None, "cpu")(Doubling(fails_to_start=True, prepares_elsewhere=True), [[1], [2]]))


@pytest.mark.usefixtures("second_node")
def test_a_cluster_without_room_is_an_error_and_not_endless():
    @ray.remote(num_cpus=1)
    class Other:
        def works(self):
            return True

    others = [Other.remote() for _ in range(2)]
    assert ray.get([one.works.remote() for one in others])
    try:
        with pytest.raises(EngineError, match="no node of the Ray cluster had a free CPU within 1 s"):
            list(ray_run(None, "cpu", scheduling_seconds=1)(WORK, [[1]]))
        with pytest.raises(EngineError, match="free GPU"):
            list(ray_run(None, "cuda", scheduling_seconds=1)(WORK, [[1]]))
    finally:
        for one in others:
            ray.kill(one)


@pytest.mark.usefixtures("second_node")
def test_reading_that_never_ends_is_an_error_and_not_endless():
    run = ray_run(None, "cpu", scheduling_seconds=5)
    with pytest.raises(EngineError, match="nothing was read within 25 s"):
        list(run(WORK, [["hang"]]))


@pytest.mark.usefixtures("second_node")
def test_a_long_listing_is_no_waiting():
    def jobs():
        time.sleep(12)
        yield [1]

    assert list(ray_run(None, "cpu", scheduling_seconds=10)(WORK, jobs())) == [[(1, 2)]]


def test_a_node_killed_in_the_middle_loses_nothing(second_node, model, tmp_path):
    """The last test: the cluster has one node afterwards."""
    corpus = made.folder(tmp_path / "in", n=N_RECORDINGS, seconds=0.1)
    (corpus / "bad.wav").write_bytes(b"no audio")
    done_at = []

    def kill_once(report):
        done_at.append(report.done)
        if len(done_at) == 1:
            second_node()

    options = dict(model=model, shard_seconds=1.0)
    report = tokenize(corpus, tmp_path / "ray", runner="ray", progress=kill_once, **options)
    assert 0 < done_at[0] < N_RECORDINGS
    assert (report.done, report.failed) == (N_RECORDINGS, 1)
    wait_for_a_dead_node()
    tokenize(corpus, tmp_path / "local", run=inline.run, **options)
    mine, theirs = rows(tmp_path / "ray"), rows(tmp_path / "local")
    assert set(mine) == set(theirs)
    assert all(np.array_equal(mine[key], theirs[key]) for key in theirs)


def wait_for_a_dead_node():
    """Ray notices it some seconds later."""
    end = time.monotonic() + 120
    while sum(not node["Alive"] for node in ray.nodes()) != 1:
        assert time.monotonic() < end
        time.sleep(0.5)


def rows(output):
    about = About.read(output)
    found = [row for path in shards(output) for row in FORMS[about.form].read(path, about.model)]
    assert len({row.key for row in found}) == len(found) == N_RECORDINGS
    return {row.key: row.encoded.codes for row in found}


@pytest.mark.parametrize(
    "options", [{"runner": "slurm"}, {"address": "auto"}, {"runner": "ray", "processes": 2}]
)
def test_runners_that_cannot_be(options, tmp_path):
    with pytest.raises(ConfigError):
        tokenize(tmp_path, tmp_path / "out", **options)
