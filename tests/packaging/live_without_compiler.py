"""The wheel built without a compiler: slower, one warning, the same results.

Run by scripts/packaging/wheel.sh.
"""

import json

import pytest
from installed import SPEECH, WORK, dacodec, package_folder, pip_install, python, succeeded, wheel

CODES = "import json, sys; from dacodec import Encoded; print(json.dumps(Encoded.load(sys.argv[1]).codes.tolist()))"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    succeeded(dacodec("encode", SPEECH, "-o", folder / "x.dacz"))
    return folder / "x.dacz"


@pytest.fixture(scope="module")
def without(compiled):
    (path,) = (WORK / "without-compiler").glob("*.whl")
    pip_install("--force-reinstall", "--no-deps", path)
    assert not list(package_folder().rglob("*.so"))
    yield
    pip_install("--force-reinstall", "--no-deps", wheel())


def codes(path):
    return json.loads(python(CODES.replace("sys.argv[1]", repr(str(path)))))


def test_one_warning_and_equal_codes(compiled, without, tmp_path):
    done = succeeded(dacodec("encode", SPEECH, "-o", tmp_path / "x.dacz"))
    (line,) = done.stderr.splitlines()
    assert line.startswith("dacodec: ")
    assert "native engine" in line
    ours, theirs = codes(tmp_path / "x.dacz"), codes(compiled)
    same = sum(a == b for k, m in zip(ours[0], theirs[0], strict=True) for a, b in zip(k, m, strict=True))
    assert same >= 0.995 * sum(map(len, ours[0]))  # near-ties may fall the other way: docs/accuracy.md
    done = succeeded(dacodec("decode", compiled, "-o", tmp_path / "x.wav"))
    assert len(done.stderr.splitlines()) == 1


def test_files_of_either_are_read_by_the_other(compiled, without, tmp_path):
    """Packing and unpacking codes works without its library too."""
    done = succeeded(dacodec("peel", compiled, "-o", tmp_path / "low.dacz", "--n-quantizers", "3"))
    assert done.stderr == ""
    assert "sound" in succeeded(dacodec("verify", compiled, tmp_path / "low.dacz")).stdout


def test_the_native_engine_is_refused_with_a_reason(without):
    done = dacodec("encode", SPEECH, "--engine", "native", "-o", "x.dacz")
    assert done.returncode == 1
    assert "compiler" in done.stderr
