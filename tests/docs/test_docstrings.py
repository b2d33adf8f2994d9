"""The examples in docstrings give the results shown."""

import doctest
import io
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import dacodec
from dacodec import Codec
from dacodec.container import Header, Writer

SOURCE = Path(dacodec.__file__).parent
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
NAMES = {
    "np": np,
    "io": io,
    "Codec": Codec,
    "Header": Header,
    "Writer": Writer,
}  # names that examples need not import


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    module = import_module(".".join(parts).removesuffix(".__init__"))
    failed, tried = doctest.testmod(module, extraglobs=NAMES)
    assert tried > 0
    assert failed == 0


def test_the_main_classes_have_examples():
    assert {"codec/__init__.py", "encoded.py", "tokens/whole.py"} <= {
        str(p.relative_to(SOURCE)) for p in FILES
    }
