"""The package in the environment made by scripts/packaging/wheel.sh, called from another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PYTHON = Path(os.environ["DACODEC_PYTHON"])
WORK = Path(os.environ["DACODEC_WORK"])
CLIPS = Path(__file__).parents[1] / "data" / "clips"
SPEECH = CLIPS / "speech_en_cards_16k.flac"
BARE = {"PATH": f"{PYTHON.parent}:/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}  # no HOME, nor anything else


def run(*command, environment=None, **options):
    return subprocess.run(
        list(map(str, command)),
        env={**BARE, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        **options,
    )


def dacodec(*args, **options):
    """The console script."""
    return run(PYTHON.with_name("dacodec"), *args, **options)


def python(code, *flags, **options):
    """The output of a piece of Python."""
    done = run(PYTHON, *flags, "-c", code, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pip_install(*what):
    constraints = Path(__file__).parents[2] / "constraints.txt"
    command = [PYTHON, "-m", "pip", "install", "-q", "-c", constraints, *what]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def package_folder():
    return Path(python("import dacodec; print(list(dacodec.__path__)[0])"))


def wheel():
    (path,) = (WORK / "dist").glob("*.whl")
    return path


def succeeded(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done
