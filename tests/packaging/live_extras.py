"""The extras, one by one, in this order: a message that names the extra while it is missing, then the command works.

Run by scripts/packaging/wheel.sh, in an environment that starts without any.
"""

import pytest
from installed import SPEECH, dacodec, pip_install, python, succeeded, wheel

# Extras that are now empty, kept so that requirements that name them still install.
EMPTY = ["av"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the commands run, with their inputs."""
    folder = tmp_path_factory.mktemp("extras")
    for args in (["encode", SPEECH, "-o", "x.dacz"], ["decode", "x.dacz", "-o", "x.wav"]):
        succeeded(dacodec(*args, cwd=folder))
    return folder


def lacking(extra, folder, *args):
    done = dacodec(*args, cwd=folder)
    assert done.returncode != 0
    assert f"pip install dacodec[{extra}]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dacodec: ")


def install(extra):
    pip_install(f"{wheel()}[{extra}]")


def test_all_extras_are_here():
    told = python("import importlib.metadata as m; print(*m.metadata('dacodec').get_all('Provides-Extra'))")
    assert set(told.split()) == {"play", "eval", "train", "serve", "corpus", "ray", "docs", "test", *EMPTY}


def test_play(folder):
    lacking("play", folder, "play", "x.dacz")
    lacking("play", folder, "stream", "loopback", "--speaker")
    install("play")
    done = dacodec("play", "x.dacz", cwd=folder)
    if done.returncode:  # sounddevice is installed, but PortAudio or a sound card is missing
        assert done.returncode == 7
        assert "No module" not in done.stderr
        assert done.stderr.startswith("dacodec: cannot play: ")
        assert done.stderr.count("\n") == 1


def test_eval(folder):
    lacking("eval", folder, "spectrogram", SPEECH, "-o", "x.png")
    done = succeeded(dacodec("eval", SPEECH, "x.wav", "--speech", cwd=folder))
    assert "pip install dacodec[eval]" in done.stdout + done.stderr
    install("eval")
    succeeded(dacodec("spectrogram", SPEECH, "-o", "x.png", cwd=folder))
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")
    done = succeeded(dacodec("eval", SPEECH, "x.wav", "--speech", cwd=folder))
    assert "pip install" not in done.stdout + done.stderr
    assert "STOI" in done.stdout


def test_train(folder):
    lacking("train", folder, "train", "smoke")
    lacking("train", folder, "finetune", "builtin")
    install("train")
    short = ["--steps", "2", "--batch_size", "2"]
    succeeded(dacodec("train", "smoke", *short, cwd=folder))
    succeeded(
        dacodec(
            "finetune",
            "runs/smoke/model",
            "smoke",
            *short,
            "--tensorboard",
            "true",
            "--out",
            "on",
            cwd=folder,
        )
    )
    assert list((folder / "on" / "tensorboard").iterdir())
    succeeded(dacodec("encode", SPEECH, "-o", "on.dacz", "--model", "on/model", cwd=folder))


def test_serve(folder):
    lacking("serve", folder, "serve")
    install("serve")
    done = dacodec("serve", "--host", "0.0.0.0", cwd=folder)  # refused without a key, before it listens
    assert done.returncode != 0
    assert "DACODEC_API_KEY" in done.stderr
    python("import dacodec.serve.server")


def test_corpus(folder):
    lacking("corpus", folder, "tokenize", SPEECH, "-o", "tokens")
    install("corpus")
    succeeded(dacodec("tokenize", SPEECH, "-o", "tokens", "-j", "1", cwd=folder))
    assert list((folder / "tokens").rglob("*.parquet"))


def test_ray(folder):
    lacking("ray", folder, "tokenize", SPEECH, "-o", "on-ray", "--runner", "ray")
    install("ray")
    succeeded(dacodec("tokenize", SPEECH, "-o", "on-ray", "--runner", "ray", cwd=folder))
    assert list((folder / "on-ray").rglob("*.parquet"))
