"""kill -9 at random, ten times for each form of output: every run resumes, and the rows are the same in the end."""

import random
import time

import killed
import made
import numpy as np
import pytest
from models import save_model

from dacodec.corpus.folder import About, failures, shards
from dacodec.corpus.forms import FORMS

N_KILLS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(
        save_model(tmp_path_factory.mktemp("model"), downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """64 recordings, so many that the last kill comes before the end, and a file that is not audio."""
    folder = made.folder(tmp_path_factory.mktemp("corpus"), n=64, seconds=0.2)
    (folder / "bad.wav").write_bytes(b"no audio")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_after_ten_kills(form, corpus, model, tmp_path):
    options = dict(model=model, form=form, shard_seconds=0.1)  # a shard for each recording
    whole, output = tmp_path / "whole", tmp_path / "out"
    run_to_its_end(corpus, whole, options)
    chance, n_killed, progress = random.Random(0), 0, []
    for i in range(N_KILLS):
        process = killed.start(corpus, output, **options)
        wait_for_shards(output, 2 * i + 1)  # spreads the kills over the whole corpus
        time.sleep(chance.uniform(0, 0.05))
        n_killed += process.is_alive()
        process.kill()
        process.join()
        progress.append(n_shards(output))
    assert n_killed == N_KILLS
    assert progress == sorted(progress)
    assert 0 < progress[0] < progress[-1] < n_shards(whole)
    run_to_its_end(corpus, output, options)
    assert same_rows(rows(output), rows(whole))
    assert [f.key for f in failures(output)] == ["bad.wav"]
    assert all(
        p.name.startswith("part-") for name in ("shards", "manifest") for p in (output / name).iterdir()
    )


def run_to_its_end(corpus, output, options):
    process = killed.start(corpus, output, **options)
    process.join()
    assert process.exitcode == 0


def wait_for_shards(output, n):
    while n_shards(output) < n:
        time.sleep(0.02)


def n_shards(output):
    return len(list((output / "manifest").glob("part-*")))


def rows(output):
    about = About.read(output)
    found = [row for path in shards(output) for row in FORMS[about.form].read(path, about.model)]
    assert len({row.key for row in found}) == len(found)
    return {row.key: row for row in found}


def same_rows(mine, theirs):
    assert set(mine) == set(theirs)
    assert all(np.array_equal(mine[key].encoded.codes, theirs[key].encoded.codes) for key in theirs)
    return all(mine[key].encoded.n_samples == theirs[key].encoded.n_samples for key in theirs)
