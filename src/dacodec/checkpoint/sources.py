"""From the name of a model to the location of its files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacodec.checkpoint.hub import fetch
from dacodec.errors import CheckpointError

BUILTIN = "small-3"  # the model that "builtin" means in this release
BUILTIN_FOLDER = Path(__file__).parents[1] / "models"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Location:
    """A folder in Hugging Face's layout, or a ``.pth`` file, and the name that the model goes by."""

    name: str
    path: Path


def locate(source: str | os.PathLike[str], files: Sequence[str], **hub: Any) -> Location:
    """The location of the model ``source``; if it is on the hub, its ``files`` are fetched.

    A string is tried as, in this order: ``"builtin"`` or a built-in model's own name (write ``./small-3`` for
    a folder of that name), a folder or file, a hub id. A ``Path`` is a folder or file.

    Raises:
        CheckpointError: if there is no such model, saying where it was looked for.
    """
    if isinstance(source, str):
        folder = builtin_folder(source)
        if folder is not None:
            return Location(folder.name, folder)
        if source == "builtin":
            raise CheckpointError(
                f"this installation lacks its built-in model {BUILTIN}; install dacodec again"
            )
    path = Path(source).expanduser()
    if path.exists() and source != "":
        return Location(_name_of(path), path)
    if (
        isinstance(source, str)
        and _HUB_ID.fullmatch(source)
        and not source.startswith(".")
        and path.suffix != ".pth"
    ):
        return Location(source, fetch(source, files, **hub))
    raise CheckpointError(
        f"there is no model {os.fspath(source)!r}: it is neither a folder or file here, nor a built-in model "
        f"({', '.join(builtin_names())}), nor of the form of a hub id, owner/name"
    )


def builtin_folder(name: str) -> Path | None:
    """The folder of the built-in model ``name`` (``"builtin"``: the current one); None for other names."""
    name = BUILTIN if name == "builtin" else name
    return BUILTIN_FOLDER / name if name in builtin_names() else None


def builtin_names() -> list[str]:
    """The models in this installation."""
    return sorted(path.parent.name for path in BUILTIN_FOLDER.glob("*/config.json"))


def _name_of(path: Path) -> str:
    path = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow links to names unknown to the user
    # Never "builtin", which compressed files refuse: its meaning may change with every release.
    return "/".join(path.parts[-2:]) if path.name in ("", "builtin") else path.name
