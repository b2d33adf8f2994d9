"""The commands, run as a user runs them."""

import json
import random
import signal
import subprocess
import time

import made
import numpy as np
import pytest
from models import save_model

from dacodec import Codec
from dacodec.audio import read
from dacodec.corpus.folder import About, failures, shards
from dacodec.corpus.forms import FORMS

from command import COMMAND, ENVIRONMENT, dacodec  # isort: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(
        save_model(tmp_path_factory.mktemp("model"), downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    )


def rows(output):
    about = About.read(output)
    return [row for path in shards(output) for row in FORMS[about.form].read(path, about.model)]


def test_commands_from_sources_to_audio(model, tmp_path):
    made.folder(tmp_path / "in", n=3, seconds=0.3)
    (tmp_path / "in" / "bad.wav").write_bytes(b"no audio")
    output = tmp_path / "out"
    done = dacodec("tokenize", tmp_path / "in", "-o", output, "--model", model, "-j", "1")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("3 done (")
    assert "1 failed" in done.stdout
    assert "failed.parquet" in done.stdout
    told = dacodec("tokens", "info", output, "--json")
    about = json.loads(told.stdout)
    assert (about["rows"], sum(about["failed"].values()), len(about["usage"])) == (3, 1, 9)
    told = dacodec("tokens", "info", output)
    assert "0.00 h in 3 rows" in told.stdout
    done = dacodec("detokenize", output, "-o", tmp_path / "audio", "-j", "1")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "audio").rglob("*.wav")) == ["a.wav", "b.flac.wav", "c.wav"]
    (tmp_path / "in" / "bad.wav").unlink()
    again = dacodec("tokenize", tmp_path / "in", "-o", output, "--model", model, "-n", "1")
    assert again.returncode == 2  # there is no option -n
    again = dacodec("tokenize", tmp_path / "in", "-o", output, "--model", model, "--n-quantizers", "2")
    assert again.returncode == 7
    assert again.stderr.startswith("dacodec: ")
    assert "n_quantizers: None there, 2 now" in again.stderr


def test_the_command_goes_on_after_three_kills(model, tmp_path):
    """kill -9 at random of the command with its processes. (test_killing.py has ten kills in each form of output.)"""
    corpus = made.folder(tmp_path / "in", n=24, seconds=0.4)
    (corpus / "bad.wav").write_bytes(b"no audio")
    output, chance = tmp_path / "out", random.Random(0)
    command = [*COMMAND, "tokenize", str(corpus), "-o", str(output), "--model", model, "-j", "1"]
    command += ["--shard-hours", str(0.8 / 3600)]
    started = time.monotonic()
    subprocess.run([*command[:-5], "-o", str(tmp_path / "whole"), *command[5:]], env=ENVIRONMENT, check=False)
    usual = time.monotonic() - started
    for _ in range(3):
        process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)
        time.sleep(chance.uniform(0.3, 1.0) * usual)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = dacodec(*command[1:])
    assert done.returncode == 1, done.stderr
    found = rows(output)
    assert sorted(row.key for row in found) == sorted(
        p.relative_to(corpus).as_posix() for p in corpus.rglob("*.*") if p.name != "bad.wav"
    )
    codec = Codec.from_pretrained(model)
    for row in found:
        assert np.array_equal(row.encoded.codes, codec.encode(*read(corpus / row.key)).codes)
    assert [f.key for f in failures(output)] == ["bad.wav"]
    names = {p.name for folder in ("shards", "manifest") for p in (output / folder).iterdir()}
    assert all(name.startswith("part-") for name in names)
