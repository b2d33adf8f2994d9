"""The player as a folder of static files: the page, the engine in WebAssembly, models.

    python scripts/player/build.py FOLDER [MODEL ...]

The models are "builtin" by default.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from weights import write_weights

from dacodec.checkpoint import load_model
from dacodec.checkpoint.sources import builtin_folder
from dacodec.container import PRIOR_FILE

ROOT = Path(__file__).parents[2]


def build(folder: Path, sources: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*(ROOT / "docs/player").iterdir(), ROOT / "docs/reader/dacz.mjs"):
        shutil.copy(path, folder)
    known = dict(add_model(source, folder / "models") for source in sources)
    (folder / "models/models.json").write_text(json.dumps(known, indent=2) + "\n")


def add_model(source: str, models: Path) -> tuple[str, dict[str, str]]:
    """Its fingerprint, and where it is."""
    loaded = load_model(source)
    name = loaded.name.replace("/", "--")
    place = models / name
    place.mkdir(parents=True, exist_ok=True)
    write_weights(place / "decoder.weights", loaded)
    prior = (builtin_folder(loaded.name) or Path(source)) / PRIOR_FILE
    if prior.is_file():
        shutil.copy(prior, place)
    return loaded.fingerprint.hex(), {"name": loaded.name, "folder": name}


if __name__ == "__main__":
    build(Path(sys.argv[1]), sys.argv[2:] or ["builtin"])
