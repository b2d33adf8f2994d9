"""The house's rules: who may import whom, and that importing does no work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dacodec

SOURCE = Path(dacodec.__file__).parent

LEVELS = {
    "errors": 0,
    "config": 0,
    "geometry": 0,
    "installation": 0,
    "overlap": 0,
    "audio": 1,
    "features": 1,
    "spectra": 1,
    "files": 1,
    "container": 1,
    "model": 2,
    "checkpoint": 3,
    "encoded": 3,
    "engine": 3,
    "concealment": 3,
    "streaming": 4,
    "transcode": 4,
    "codec": 5,
    "tokens": 5,
    "training": 6,
    "evaluation": 6,
    "integrations": 6,
    "cli": 7,
    "__main__": 8,
}


def imports(path):
    """Rooms of the package that a file imports, inside functions too; what only type checkers see does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dacodec":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("dacodec."))


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_lower_levels_and_itself(path):
    own = room(path)
    for name in imports(path):
        if name in ("__version__", own):
            continue
        assert LEVELS[name] < LEVELS[own] or (LEVELS[own] == LEVELS[name] == 0), f"{own} imports {name}"
        assert name not in ("training", "serve") or own == "cli", f"{own} imports {name}"


@pytest.mark.parametrize("name", ["container", "errors", "config", "geometry", "files", "audio", "tokens"])
def test_rooms_without_torch(name):
    paths = [SOURCE / f"{name}.py"] if (SOURCE / f"{name}.py").exists() else (SOURCE / name).rglob("*.py")
    for path in paths:
        assert "import torch" not in path.read_text()


@pytest.mark.parametrize(
    "args", [["-c", "import dacodec"], ["-m", "dacodec", "--help"], ["-m", "dacodec", "encode", "--help"]]
)
def test_importing_and_help_load_neither_torch_nor_numpy(args):
    code = f"""
import runpy, sys
sys.argv = {args[1:] if args[0] == "-m" else ["-"]!r}
try:
    {"import dacodec" if args[0] == "-c" else "runpy.run_module('dacodec', run_name='__main__')"}
except SystemExit as end:
    assert not end.code, end.code
assert not {{"torch", "numpy"}} & set(sys.modules), sorted(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_public_names_exist():
    for name in dacodec.__all__:
        assert getattr(dacodec, name)
    with pytest.raises(AttributeError):
        dacodec.nothing  # noqa: B018
