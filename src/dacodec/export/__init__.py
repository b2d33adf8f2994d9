"""Models for other programs: ONNX and ``torch.export`` files that stand alone, and proof that they agree.

``networks`` and ``streaming`` are what is exported, ``layers`` their ONNX nodes in a ``graph``; ``onnx_files`` and
``torch_files`` write them, with what the ``card`` says; ``parity`` compares, ``readme`` explains.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dacodec
from dacodec.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from dacodec.export.parity import Report

__all__ = ["FORMATS", "export_model"]

FORMATS = ("onnx", "torch-export")
_NEEDED = ("onnx", "onnxruntime")


def export_model(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    format: str = "onnx",
    half: bool = False,
    streaming: bool = False,
    licence: str | None = None,
    overwrite: bool = False,
    **hub: Any,
) -> Report:
    """Write a model's encoder and decoder to ``folder``, with a README, its config, its prior and a parity report.

    Args:
        source: see :meth:`dacodec.DacModel.from_pretrained`, which also explains the arguments ``hub``.
        format: ``"onnx"`` or ``"torch-export"``.
        half: store convolution weights in half precision; everything is computed in float32. ONNX only.
        streaming: also the forms that take a signal piece by piece.
        licence: of the weights; by default that of the built-in model, and otherwise "unknown".
        overwrite: replace what an earlier export left there.

    Returns:
        How the files agree with the model, which is also in ``report.md`` and ``report.json``.

    Raises:
        CheckpointError: if the model cannot be found or read.
        ConfigError: for an unknown format, or half precision with ``torch-export``.
        OutputError: if the folder holds an export already, a file cannot be written, or onnx or onnxruntime is missing.
    """
    _check(format, half)
    if not overwrite and (Path(folder) / "report.json").exists():
        raise OutputError(f"{folder} holds an export already; allow overwriting it, or give another folder")
    from dacodec.checkpoint import load_model
    from dacodec.checkpoint.configs import folder_to_write, write_config
    from dacodec.checkpoint.sources import builtin_folder
    from dacodec.container import PRIOR_FILE
    from dacodec.export import onnx_files, torch_files
    from dacodec.export.card import Card
    from dacodec.export.parity import compare
    from dacodec.files import new_file

    loaded = load_model(source, **hub)
    model = loaded.model
    if licence is None:
        licence = "MIT" if builtin_folder(loaded.name) else "unknown; ask who published the weights"
    card = Card.of(model, loaded.name, dacodec.__version__, licence, loaded.fingerprint)
    folder = folder_to_write(folder)
    files, suffix = [], ".onnx" if format == "onnx" else ".pt2"
    forms: Any = onnx_files if format == "onnx" else torch_files
    for name, form in {**forms.OFFLINE, **(forms.STREAMING if streaming else {})}.items():
        made = form(model, half) if format == "onnx" else form(model)
        forms.write(folder / f"{name}{suffix}", made, card.metadata())
        files.append(f"{name}{suffix}")
    write_config(folder, model.config)
    report = compare(model, card, folder, files)
    _write_beside(folder, card, report, format, streaming)
    home = builtin_folder(loaded.name) or Path(source)
    if (home / PRIOR_FILE).is_file():
        with new_file(folder / PRIOR_FILE, overwrite=True) as file:
            file.write((home / PRIOR_FILE).read_bytes())
    return report


def _check(format: str, half: bool) -> None:
    if format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    if half and format != "onnx":
        raise ConfigError(
            f"half precision is for the format onnx, not {format}; leave it out, or choose onnx"
        )
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise OutputError(f"exporting needs {' and '.join(missing)}: pip install dacodec[export]")


def _write_beside(folder: Path, card: Any, report: Report, format: str, streaming: bool) -> None:
    from dacodec.export.readme import readme
    from dacodec.files import new_file

    texts = {
        "README.md": readme(card, format, streaming),
        "report.md": report.markdown(),
        "report.json": json.dumps({"model": card.to_dict(), **report.to_dict()}, indent=2) + "\n",
    }
    for name, text in texts.items():
        with new_file(folder / name, overwrite=True) as file:
            file.write(text.encode())
