"""The structure of the package: which module may import which, and importing does no work."""

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
    "locking": 1,
    "container": 1,
    "model": 2,
    "checkpoint": 3,
    "encoded": 3,
    "engine": 3,
    "batching": 4,
    "codec": 5,
    "tokens": 5,
    "training": 6,
    "evaluation": 6,
    "corpus": 6,
    "export": 6,
    "integrations": 6,
    "serve": 6,
    "cli": 7,
    "__main__": 8,
}

# Inside a package: a file imports only files further left.
SHELVES = {
    "container": [
        ["format", "bits", "stream", "extensions", "rangecoder", "descript"],
        ["header", "prior", "table"],
        ["read_header", "blocks", "entropy"],
        ["index", "compiled"],
        ["packet"],
        ["sequence"],
        ["reader"],
        ["writer", "datagram"],
        ["peel", "repair"],
        ["__init__"],
    ],
    "engine": [
        ["base", "pieces", "float32", "recording", "versions"],
        ["eager", "native", "cuda"],
        ["__init__"],
    ],
    "export": [
        ["graph", "networks"],
        ["layers"],
        ["streaming"],
        ["card", "onnx_files", "torch_files"],
        ["parity", "readme"],
        ["__init__"],
    ],
    "codec": [["coder", "concealment"], ["window"], ["arrays", "files", "live"], ["__init__"]],
}

FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p != SOURCE / "__init__.py"]
MODULES = {
    ".".join(p.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES
}


def imports(path, for_types=False):
    """Files of the package that a file imports, inside functions too; optionally with those imported only for types."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not for_types:
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        for module, package in names:
            found = MODULES.get(module) or MODULES.get(package)
            if found not in (None, path):
                yield found


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def circles(graph):
    """Files that can reach themselves along ``graph``."""
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        if start in seen:
            yield start


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_lower_levels_and_itself(path):
    own = room(path)
    for name in map(room, imports(path)):
        if name == own:
            continue
        assert LEVELS[name] < LEVELS[own] or (LEVELS[own] == LEVELS[name] == 0), f"{own} imports {name}"
        assert name not in ("training", "serve") or own == "cli", f"{own} imports {name}"


def test_no_files_import_one_another_in_a_circle():
    """No import cycles, not even for types: a file that needs another's type belongs above it."""
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == ["b", "c"]
    graph = {path: set(imports(path, for_types=True)) for path in FILES}
    assert sum(map(len, graph.values())) > len(graph)
    assert not [str(path.relative_to(SOURCE)) for path in circles(graph)]


@pytest.mark.parametrize("own", SHELVES)
def test_inside_a_room_files_import_only_what_stands_before_them(own):
    def shelf(path):
        return path.relative_to(SOURCE / own).parts[0].removesuffix(".py")

    order = {name: i for i, names in enumerate(SHELVES[own]) for name in names}
    paths = [path for path in FILES if room(path) == own]
    assert {shelf(path) for path in paths} == set(order)
    for path in paths:
        for other in imports(path, for_types=True):
            if room(other) == own and shelf(other) != shelf(path):
                assert order[shelf(other)] < order[shelf(path)], f"{path} imports {other}"


@pytest.mark.parametrize(
    "name", ["container", "errors", "config", "geometry", "files", "audio", "encoded", "tokens"]
)
def test_rooms_without_torch(name):
    paths = [SOURCE / f"{name}.py"] if (SOURCE / f"{name}.py").exists() else (SOURCE / name).rglob("*.py")
    for path in paths:
        assert "import torch" not in path.read_text()


def test_processes_that_only_read_a_corpus_load_no_torch():
    code = "import sys, dacodec.corpus.cluster, dacodec.corpus.work; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


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
