"""Every command and every piece of Python in the documentation runs (documented.py lists exceptions, with reasons)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import placeholders
import pytest
from documented import NOT_RUN, SERVICE, SHORTENED, blocks, commands

from dacodec import Codec

BIN = Path(sys.executable).parent
PYTHON_BLOCKS = [block for block in blocks() if block.language == "python"]
RUN = [command for command in commands() if command.reason_not_to_run is None]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented")
    placeholders.lay_out(folder)
    return folder


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    placeholders.hub_cache(folder)
    return folder


@pytest.fixture(scope="module")
def service():
    """The address of a running ``dacodec serve``."""
    run = subprocess.Popen(
        [sys.executable, "-m", "dacodec", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    yield re.search(r"http://\S+:\d+", run.stdout.readline())[0]
    run.terminate()
    assert run.wait(60) == 0


@pytest.fixture
def at_service(request):
    """Replaces the service's address in a text."""
    return lambda text: text.replace(SERVICE, request.getfixturevalue("service")) if SERVICE in text else text


@pytest.mark.parametrize("command", RUN, ids=lambda c: f"{c.place} {c.text[:60]}")
def test_command(command, template, hub_cache, tmp_path, at_service):
    placeholders.copy(template, tmp_path)
    for name in command.outputs:
        (tmp_path / name).unlink(missing_ok=True)
    tools = str(tmp_path / "bin")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([tools, str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([tools, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    script = f"set -euo pipefail; trap - INT; {at_service(command.shortened)}"
    run = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False
    )
    assert run.returncode == 0, f"{command.shortened}\n{run.stderr.decode(errors='replace')}"
    for name in command.outputs:
        assert (tmp_path / name).stat().st_size > 0, f"{command.text} left no {name}"


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda b: b.place)
def test_python(block, template, tmp_path, monkeypatch, at_service):
    placeholders.copy(template, tmp_path)
    (tmp_path / "in.dacz").unlink()
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).standard_normal((2, 24000)).astype(np.float32) * 0.1
    codec = Codec.from_pretrained("builtin")
    names = {  # names that the text around the blocks assumes
        "codec": codec,
        "audio": noise,
        "state": None,
        "state2": None,
        "n_samples": None,
        "tokens": codec.encode(noise[0], 44100).codes[0],
        "clips": [noise[0], noise],
        "sampling_rates": [16000, 48000],
        "model": placeholders.SpeakingModel(),
        "inputs": {},
        "play": lambda samples, sampling_rate: None,
    }
    exec(compile(at_service(block.text), block.place, "exec"), names)


def test_languages_of_blocks_are_known():
    assert {block.language for block in blocks()} <= {"sh", "python", ""}


def test_nothing_is_left_out_or_shortened_for_a_command_that_is_gone():
    texts = [command.text for command in commands()]
    for start in NOT_RUN:
        assert any(text.startswith(start) for text in texts), start
    for pattern, _, _ in SHORTENED:
        assert any(re.search(pattern, text) for text in texts), pattern
