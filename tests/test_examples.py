"""The examples, over loopback."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from dacodec import Codec

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tests" / "data" / "clips" / "speech_en_cards_16k.flac"


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("loss", ["0", "0.2"])
def test_a_call_over_udp(loss, tmp_path):
    port, header, output = free_port(), str(tmp_path / "call.header"), str(tmp_path / "out.wav")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    receiver = subprocess.Popen(
        [sys.executable, "examples/udp_receive.py", header, port, output, "--timeout", "60"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with receiver:
        assert receiver.stdout.readline() == "listening\n"
        sender = [sys.executable, "examples/udp_send.py", str(CLIP), "127.0.0.1", port, "--header", header]
        sent = subprocess.run(
            [*sender, "--loss", loss], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert sent.returncode == 0, sent.stderr
        told = receiver.stdout.read()
    n_sent = int(re.match(r"(\d+) frames", sent.stdout)[1])
    n_received, n_lost = map(int, re.match(r"(\d+) frames, (\d+) lost", told).groups())
    assert 0 <= n_sent - n_received <= (0 if loss == "0" else 20)  # the last ones may be lost, too
    assert (n_lost > 0) == (loss != "0")
    frames_seconds = n_received * 512 / 44100
    assert soundfile.info(output).duration == pytest.approx(frames_seconds, abs=0.01)


def test_a_language_model_is_heard_while_it_speaks(tmp_path):
    run = subprocess.run(
        [sys.executable, "examples/language_model.py", str(CLIP), str(tmp_path / "heard.wav")],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    codec = Codec.from_pretrained("builtin")
    lookahead = codec.geometry.decoder_lookahead
    assert (
        run.stdout == f"the first sound after {1 + 15 + lookahead} rows\n"
    )  # a row of begin ids comes first
    encoded = codec.encode(*soundfile.read(CLIP, dtype="float32"))
    expected = codec.decode(codec.from_codes(encoded.codes))
    heard = soundfile.read(tmp_path / "heard.wav", dtype="float32")[0]
    assert heard.shape == expected.reshape(-1).shape
    assert abs(heard - expected.reshape(-1)).max() < 2**-15 + 1e-4


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Tokens of half a minute of speech, in rows of two seconds."""
    output = tmp_path_factory.mktemp("tokens") / "out"
    command = [sys.executable, "-m", "dacodec", "tokenize", str(CLIP), "-o", str(output), "-j", "1"]
    subprocess.run([*command, "--n-quantizers", "9", "--split-seconds", "2"], check=True)
    return output


def example(*arguments):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_a_tiny_gpt_learns_tokens_and_is_heard(tokens, tmp_path):
    sizes = ["--steps", 40, "--seconds", 0.5, "--width", 32, "--depth", 1]
    run = example("examples/tiny_gpt.py", tokens, tmp_path / "heard.wav", *sizes)
    assert run.returncode == 0, run.stderr
    first, last = map(float, re.match(r"loss (\S+) to (\S+)\n", run.stdout).groups())
    assert last < 0.9 * first
    n_frames, n_bad = map(int, re.search(r"(\d+) frames, (\d+) ids", run.stdout).groups())
    assert n_frames > 0
    assert n_bad <= 9 * n_frames
    sound, rate = soundfile.read(tmp_path / "heard.wav")
    assert rate == 44100
    assert len(sound) == Codec.from_pretrained("builtin").geometry.samples(n_frames)
    assert sound.any()


def test_tokens_go_through_datasets(tokens):
    run = example("examples/datasets_pipeline.py", tokens)
    assert run.returncode == 0, run.stderr
    shapes = re.findall(r"batch \d+: \[(\d+), (\d+)\], (\d+) % ids", run.stdout)
    n_rows = sum(int(n) for n, _, _ in shapes)
    expected = pq.read_table(tokens / "shards", columns=["codes"]).num_rows
    assert n_rows == expected > 1
    assert all(int(length) % 64 == 0 and 0 < int(share) <= 100 for _, length, share in shapes)
