"""The demo with the wheel's own libraries, without a compiler. Run by scripts/packaging/wheel.sh, after the extras."""

import re
import shutil
from pathlib import Path

from installed import PYTHON, WORK, python, run, succeeded

ROOT = Path(__file__).parents[2]
WITHOUT_A_COMPILER = {"PATH": f"{PYTHON.parent}:{WORK / 'bin'}"}


def test_demo(tmp_path):
    compilers = [
        c for c in ("cc", "c++", "gcc", "g++", "clang++") if shutil.which(c, path=WITHOUT_A_COMPILER["PATH"])
    ]
    assert compilers == []
    done = succeeded(run(PYTHON, ROOT / "scripts" / "demo.py", cwd=tmp_path, environment=WITHOUT_A_COMPILER))
    assert done.stderr == ""  # no warning about a missing engine
    (stoi,) = re.findall(r"STOI\) (0\.\d\d) of 1", done.stdout)
    assert float(stoi) > 0.8
    assert len(list((tmp_path / "demo-out").glob("*.png"))) == 2


def test_it_ran_the_native_engine():
    engine = python("from dacodec import Codec; print(type(Codec.from_pretrained().engine).__name__)")
    assert engine == "NativeEngine"
