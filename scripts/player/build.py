"""The player as a folder of static files: our page, ONNX Runtime from npm, exported models.

    python scripts/player/build.py FOLDER [MODEL ...]

The models are "builtin" by default. npm is asked for one package, ORT below, which lands in build/npm.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dacodec.export import export_model

ROOT = Path(__file__).parents[2]
ORT = "onnxruntime-web@1.30.0"
# The build for WebAssembly alone: with WebGPU it would be twice as large.
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MODEL_FILES = ("decoder_stream.onnx", "codes.prior", "report.json")


def build(folder: Path, sources: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*(ROOT / "docs/player").iterdir(), ROOT / "docs/reader/dacz.mjs"):
        shutil.copy(path, folder)
    for name in RUNTIME:
        shutil.copy(runtime() / name, folder)
    known = {}
    for source in sources:
        card = add_model(source, folder / "models")
        known[card["fingerprint"]] = {"name": card["name"], "folder": card["name"].replace("/", "--")}
    (folder / "models/models.json").write_text(json.dumps(known, indent=2) + "\n")


def runtime() -> Path:
    """The folder of ONNX Runtime's files."""
    npm = ROOT / "build/npm"
    dist = npm / "node_modules/onnxruntime-web/dist"
    if not dist.exists():
        command = ["npm", "install", "--prefix", npm, "--ignore-scripts", "--no-audit", "--no-fund", ORT]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return dist


def add_model(source: str, models: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as exported:
        # The built-in model's convolutions are stored in half precision, so nothing is lost.
        export_model(source, exported, half=source == "builtin", streaming=True)
        card = json.loads((Path(exported) / "report.json").read_text())["model"]
        place = models / card["name"].replace("/", "--")
        place.mkdir(parents=True, exist_ok=True)
        for name in MODEL_FILES:
            if (Path(exported) / name).exists():
                shutil.copy(Path(exported) / name, place)
    return card


if __name__ == "__main__":
    build(Path(sys.argv[1]), sys.argv[2:] or ["builtin"])
