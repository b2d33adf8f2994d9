"""The installed package in a user's hands, before any extra is installed. Run by scripts/packaging/wheel.sh."""

import shutil
import subprocess
import zipapp
from pathlib import Path

import pytest
from installed import CLIPS, PYTHON, SPEECH, dacodec, package_folder, python, run, succeeded, wheel

BAD_FILES = sorted((Path(__file__).parents[1] / "bad_files").glob("*.dacz"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A coded file, and its decoded audio."""
    folder = tmp_path_factory.mktemp("expected")
    succeeded(dacodec("encode", SPEECH, "-o", folder / "x.dacz"))
    succeeded(dacodec("decode", folder / "x.dacz", "-o", folder / "x.wav"))
    return (folder / "x.dacz").read_bytes(), (folder / "x.wav").read_bytes()


def there_and_back(*command, cwd, **options):
    """Coded and decoded by ``command``, whose whole output is printed."""
    shutil.copy(SPEECH, cwd / "x.flac")
    for args in (["encode", "x.flac", "-o", "x.dacz"], ["decode", "x.dacz", "-o", "x.wav"]):
        done = succeeded(run(*command, *args, cwd=cwd, **options))
        assert done.stderr == ""
    return (cwd / "x.dacz").read_bytes(), (cwd / "x.wav").read_bytes()


def test_it_is_the_installed_one():
    assert package_folder().is_relative_to(PYTHON.parents[1])
    assert python("from dacodec.engine.native.library import load_library as l; print(l().target)")


def test_console_script_and_module(expected, tmp_path):
    version = succeeded(dacodec("--version")).stdout
    assert version == succeeded(run(PYTHON, "-m", "dacodec", "--version")).stdout
    assert there_and_back(PYTHON, "-m", "dacodec", cwd=tmp_path) == expected


def test_importing_is_light():
    code = "import sys, dacodec; assert not {'torch', 'numpy'} & set(sys.modules)"
    python(code)
    told = run(PYTHON, "-X", "importtime", "-m", "dacodec", "--help").stderr
    names = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "typer" in names
    assert not {"torch", "numpy"} & names


def test_recipes():
    names = python(
        "from dacodec.training.config import RECIPES; print(*sorted(p.stem for p in RECIPES.iterdir()))"
    )
    assert names.split() == ["16khz", "24khz", "44khz", "finetune", "small-3", "smoke"]


def test_nothing_can_be_written_but_outputs(expected, tmp_path):
    """The whole environment read-only, no HOME, no place for a cache."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, PYTHON.parents[1]]
    done = run(*command, "touch", PYTHON.parents[1] / "x")
    assert "Read-only" in done.stderr, done.stderr
    nowhere = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "HF_HOME": "/nonexistent"}
    assert (
        there_and_back(*command, PYTHON.with_name("dacodec"), cwd=tmp_path, environment=nowhere) == expected
    )
    done = run(
        *command,
        PYTHON.with_name("dacodec"),
        "encode",
        SPEECH,
        "--model",
        "descript/dac_44khz",
        environment=nowhere | {"HF_HUB_OFFLINE": "0"},
    )
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    done = run(*command, PYTHON.with_name("dacodec"), "encode", SPEECH, "-o", PYTHON.parents[1] / "x.dacz")
    assert done.returncode == 7
    assert "Read-only" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_spaces_and_umlauts(expected, tmp_path, locale):
    """In the installation path, the working folder, and names of files."""
    place = tmp_path / "hier liegt's, schön"
    shutil.copytree(package_folder(), place / "dacodec")
    folder = tmp_path / "Übung macht 'den' Meister"
    folder.mkdir()
    environment = {"PYTHONPATH": str(place), "LC_ALL": locale}
    assert there_and_back(PYTHON, "-m", "dacodec", cwd=folder, environment=environment) == expected
    shutil.copy(SPEECH, folder / "große Straße.flac")
    done = succeeded(
        run(PYTHON, "-m", "dacodec", "encode", "große Straße.flac", cwd=folder, environment=environment)
    )
    (coded,) = folder.glob("*Stra*.dacz")
    assert coded.read_bytes() == expected[0]
    assert "kbit/s" in done.stdout


def test_safe_path(expected, tmp_path):
    for name in ("module", "script"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "torch.py").write_text("raise SystemExit('not this one')")
    environment = {"PYTHONSAFEPATH": "1"}
    command = [PYTHON, "-m", "dacodec"]
    assert there_and_back(*command, cwd=tmp_path / "module", environment=environment) == expected
    # For the console script, its own folder comes first in the path, not the working folder.
    assert there_and_back(PYTHON.with_name("dacodec"), cwd=tmp_path / "script") == expected


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_optimized(expected, tmp_path, flag):
    """No behaviour depends on asserts or docstrings: the same results, and the same errors for bad files."""
    assert there_and_back(PYTHON, flag, "-m", "dacodec", cwd=tmp_path) == expected
    assert BAD_FILES
    plain, optimized = (run(PYTHON, *flags, "-m", "dacodec", "verify", *BAD_FILES) for flags in ([], [flag]))
    assert (optimized.returncode, optimized.stdout) == (plain.returncode, plain.stdout)
    assert run(PYTHON, flag, "-m", "dacodec", "encode", "--help").returncode == 0


def test_a_zip_file_is_refused(tmp_path):
    shutil.copytree(package_folder(), tmp_path / "app" / "dacodec")
    archive = tmp_path / "app.pyz"
    zipapp.create_archive(tmp_path / "app", archive, main="dacodec.cli.main:main")
    done = run(PYTHON, archive, "encode", SPEECH)
    assert done.returncode == 1
    assert done.stderr.startswith("dacodec: dacodec cannot run from a zip file")
    assert done.stderr.count("\n") == 1
    done = run(PYTHON, "-c", "from dacodec import Codec", environment={"PYTHONPATH": str(archive)})
    assert "InstallationError: dacodec cannot run from a zip file" in done.stderr


def test_errors_of_the_command_line(tmp_path):
    done = dacodec("decode", SPEECH, cwd=tmp_path)
    assert done.returncode == 4
    assert f"{SPEECH}: not a .dacz file but audio" in done.stderr
    done = dacodec("encode", CLIPS / "nothing.wav")
    assert done.returncode == 3


def test_wheel_is_the_one_that_was_built():
    installed = python("import importlib.metadata as m; print(m.version('dacodec'))")
    assert f"-{installed}-" in wheel().name
    assert subprocess.run([PYTHON, "-m", "pip", "check"], check=False).returncode == 0
