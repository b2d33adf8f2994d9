"""Put trained weights into the package as a built-in model: half precision, codebooks in float32.

python scripts/train/package.py RUN/weights.safetensors --name small-2
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from small import CONFIG

from dacodec import DacModel

MODELS = Path(__file__).parents[2] / "src" / "dacodec" / "models"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True)
    args = parser.parse_args()
    model = DacModel(CONFIG)
    model.load_state_dict(load_file(args.weights))
    folder = MODELS / args.name
    model.save_pretrained(folder)
    # Codebooks keep their digits, because a code is found by comparing rows; biases and alphas, because the
    # fingerprint covers them.
    convolutions = {k for k, v in model.state_dict().items() if v.ndim == 3 and k.endswith("weight")}
    stored = {k: v.half() if k in convolutions else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    config["quantizer_dropout"] = CONFIG.quantizer_dropout
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    print(folder, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
