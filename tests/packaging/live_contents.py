"""The wheel and the sdist contain the source tree, file by file. Run by scripts/packaging/wheel.sh."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

WORK = Path(os.environ["DACODEC_WORK"])
SOURCE = Path(os.environ["DACODEC_SOURCE"])  # what git tracks

# Intentionally left out.
NOT_IN_SDIST = {
    ".ci/run",
    ".dockerignore",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".github/workflows/release.yml",
    ".github/workflows/test.yml",
    "discriminators/small-3.safetensors",
}
# Created by the build.
MADE_IN_SDIST = {"PKG-INFO", "setup.cfg"}
TARGETS = ("generic", "avx2", "avx512")
LIBRARIES = {"dacodec/container/_entropy.so"} | {
    f"dacodec/{name}_{target}.so" for name in ("engine/_native", "audio/_resample") for target in TARGETS
}
WHEEL_MEGABYTES = 30


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def source():
    files = tree(SOURCE)
    made = ("build/", "src/dacodec.egg-info/")
    return {
        name: content
        for name, content in files.items()
        if not name.startswith(made) and not name.endswith(".so")
    }


def wheel(folder):
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return path, {
            name: archive.read(name)
            for name in archive.namelist()
            if not (".dist-info/" in name or name.endswith("/"))
        }


def assert_same(ours, theirs):
    assert sorted(ours.keys() - theirs.keys()) == [], "missing"
    assert sorted(theirs.keys() - ours.keys()) == [], "not in the source tree"
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_sdist(source):
    (path,) = (WORK / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {m.name.partition("/")[2]: archive.extractfile(m).read() for m in archive if m.isfile()}
    members = {
        name: content
        for name, content in members.items()
        if name not in MADE_IN_SDIST and ".egg-info/" not in name
    }
    assert_same({name: source[name] for name in source.keys() - NOT_IN_SDIST}, members)


@pytest.mark.parametrize(("folder", "built"), [("dist", LIBRARIES), ("without-compiler", set())])
def test_wheel(source, folder, built):
    path, members = wheel(WORK / folder)
    assert {name for name in members if name.endswith(".so")} == built
    package = {
        name.removeprefix("src/"): content
        for name, content in source.items()
        if name.startswith("src/dacodec/")
    }
    assert_same(package, {name: content for name, content in members.items() if name not in built})
    assert path.stat().st_size < WHEEL_MEGABYTES * 1e6
    assert path.name.startswith("dacodec-")
    # The libraries depend on no version of Python and no particular Linux distribution.
    assert ("-py3-none-manylinux_" if built else "-py3-none-") in path.name


def test_without_a_compiler_it_says_so():
    assert "is left out" in (WORK / "without-compiler.log").read_text()
