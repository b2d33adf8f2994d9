"""Stores another package's results for the cases in tests/parity/cases.py, for the ordinary test run.

    PYTHONPATH=tests:tests/parity .venv-hf4/bin/python scripts/oracles/make_golden.py hf4
    PYTHONPATH=tests:tests/parity .venv-hf5/bin/python scripts/oracles/make_golden.py hf5
    PYTHONPATH=tests:tests/parity .venv-descript/bin/python scripts/oracles/make_golden.py descript

writes tests/golden/<name>.safetensors (tensors "<case>/<output>") and tests/golden/<name>.json (the cases and
where the tensors come from). Weights and audio are made from seeds, so they are not stored.

All results are of float64, rounded to float32 to be stored: float32 results of one package differ by more than 1e-5
between processors, so only better ones can be a reference.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
from pathlib import Path

import cases
import running
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
# Rounding moves distances by about 1e-6. Stored codes must come out the same on every machine, so a case with
# two entries nearly as near as each other needs another seed.
MIN_GAP = 1e-5
PACKAGES = {"hf4": "transformers", "hf5": "transformers", "descript": "descript-audio-codec"}
# What newer transformers has working and the older has not.
FROM_LATENTS = ("one_hop", "odd_strides", "16khz_narrow")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=PACKAGES)
    name = parser.parse_args().name
    torch.set_num_threads(2)

    tensors, stored = {}, []
    for case in cases.golden_cases():
        if name == "descript":
            if case["mode"] != "eval":
                continue
            case = {**case, "gradients": False}
        results = descript_results(case) if name == "descript" else hugging_face_results(case, name)
        stored.append(case)
        tensors |= {f"{case['name']}/{key}": value.contiguous() for key, value in results.items()}
        print(f"{case['name']}: {sum(v.nbytes for v in results.values()) // 1024} KiB", flush=True)

    GOLDEN.mkdir(exist_ok=True)
    save_file(tensors, GOLDEN / f"{name}.safetensors")
    package = PACKAGES[name]
    origin = {
        "package": package,
        "version": importlib.metadata.version(package),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": f"python scripts/oracles/make_golden.py {name}",
    }
    text = json.dumps({"origin": origin, "cases": stored}, indent=1)
    (GOLDEN / f"{name}.json").write_text(text + "\n")


def hugging_face_results(case, name):
    model = running.hugging_face(case, torch.float64)
    results = running.run_hugging_face(model, case, torch.float64)
    check_gap(case, results, model.state_dict())
    if name == "hf5" and case["name"] in FROM_LATENTS:
        results |= running.run_from_latents(model, results["projected_latents"])
    return slim(case, results)


def descript_results(case):
    import descript

    model = descript.build(case, torch.float64)
    results = descript.run(model, case, torch.float64)
    state = {
        descript.hugging_face_key(key, len(case["config"]["downsampling_ratios"])): value
        for key, value in descript.folded(model.state_dict()).items()
    }
    check_gap(case, results, state)
    if case["name"] == "one_hop":
        # The whole of a small checkpoint, to import.
        results |= {f"state.{key}": value for key, value in descript.build(case).state_dict().items()}
    return slim(case, results)


def slim(case, results):
    """The results worth storing: no number twice, and no more digits than float32 has."""
    cut = results.pop("forward.audio_values", None)
    assert cut is None or torch.equal(cut, results["audio_values"][..., : case["samples"]])
    if case["samples"] * case["batch"] > 4000:
        results.pop("audio_values_from_codes", None)
    codes = results.pop("audio_codes")
    assert codes.max() < 2**15
    return {key: value.float() for key, value in results.items()} | {"audio_codes": codes.to(torch.int16)}


def check_gap(case, results, state):
    residual = results["latents"].double()
    codes = results["audio_codes"]
    smallest = float("inf")
    for k in range(codes.shape[1]):
        in_weight, in_bias, out_weight, out_bias, codebook = (
            state[f"quantizer.quantizers.{k}.{name}"].double()
            for name in (
                "in_proj.weight",
                "in_proj.bias",
                "out_proj.weight",
                "out_proj.bias",
                "codebook.weight",
            )
        )
        projected = F.normalize(F.conv1d(residual, in_weight, in_bias)).transpose(1, 2)
        distances = 2 - 2 * projected @ F.normalize(codebook).T
        nearest = distances.topk(2, largest=False)
        assert torch.equal(nearest.indices[..., 0], codes[:, k]), (
            f"{case['name']}: codebook {k} is not the nearest"
        )
        smallest = min(smallest, (nearest.values[..., 1] - nearest.values[..., 0]).min().item())
        residual = residual - F.conv1d(codebook[codes[:, k]].transpose(1, 2), out_weight, out_bias)
    assert smallest > MIN_GAP, f"{case['name']}: the smallest gap is {smallest:.1e}; take another seed"


if __name__ == "__main__":
    main()
