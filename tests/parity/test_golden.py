"""dacodec against stored results of transformers and descript-audio-codec (scripts/oracles/make_golden.py)."""

from __future__ import annotations

import json
from pathlib import Path

import descript
import pytest
import running
import torch
from rounding import limit, peak_error, plain_kernels, rms_error
from safetensors import safe_open

from dacodec import DacModel

GOLDEN = Path(__file__).parents[1] / "golden"


def load(package):
    """The stored cases by name, each with the results of the package."""
    with safe_open(GOLDEN / f"{package}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no dict
    cases = json.loads((GOLDEN / f"{package}.json").read_text())["cases"]
    return {
        case["name"]: (
            case,
            {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{case['name']}/")},
        )
        for case in cases
    }


HUGGING_FACE = {package: load(package) for package in ("hf4", "hf5")}
DESCRIPT = load("descript")
CASES = {name: case for name, (case, _) in HUGGING_FACE["hf4"].items()}


def references(name):
    for package, stored in HUGGING_FACE.items():
        case, tensors = stored[name]
        assert case == CASES[name], f"{package} was asked something else"
        yield tensors


def only(tensors, prefix):
    return {key: value for key, value in tensors.items() if key.startswith(prefix)}


def outputs(tensors):
    prefixes = ("gradient", "from_latents", "state")
    return {key: value for key, value in tensors.items() if not key.startswith(prefixes)}


# The stored results were computed in float64 and rounded to float32 once: an error of a ten-millionth.
STORED = 1e-6


def in_float64(case):
    return running.run_ours(running.ours(case, torch.float64), case, torch.float64)


def in_float32(case, exact):
    """Our results, and their allowed error: a multiple of that of the same model with PyTorch's plain kernels."""
    model = running.ours(case)
    with plain_kernels():
        plain = running.run_ours(model, case)
    return model, running.run_ours(model, case), running.limits(plain, exact)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_transformers(name):
    case = {**CASES[name], "gradients": False}
    exact = in_float64(case)
    model, results, allowed = in_float32(case, exact)
    assert torch.equal(results["forward.audio_values"], results["audio_values"][..., : case["samples"]])
    for tensors in references(name):
        assert torch.equal(exact["audio_codes"], tensors["audio_codes"].long())
        stored = {key: value for key, value in outputs(tensors).items() if key != "audio_codes"}
        running.assert_small({k: peak_error(exact[k], value) for k, value in stored.items()}, most=STORED)
        agreement, _ = running.compare(results, outputs(tensors), model, allowed)
        # The stored codes are no near-ties, so every implementation finds them.
        assert not agreement.affected_frames


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["gradients"]])
def test_gradients_are_those_of_transformers(name):
    case = CASES[name]
    exact, rounded = (
        running.only_gradients(run_ours(case, dtype)) for dtype in (torch.float64, torch.float32)
    )
    with plain_kernels():
        plain = running.only_gradients(run_ours(case, torch.float32))
    for tensors in references(name):
        reference = running.with_unused(running.only_gradients(tensors), exact)
        ours = running.with_unused(exact, reference)
        running.assert_small({k: peak_error(ours[k], value) for k, value in reference.items()}, most=STORED)
        # In float32, terms that nearly cancel are mostly rounding, so the gradient is compared as one vector.
        errors = [
            rms_error(as_vector(g, reference), as_vector(reference, reference)) for g in (rounded, plain)
        ]
        assert errors[0] <= limit(errors[1], floor=running.MAX_ERROR)


def as_vector(gradients, reference):
    gradients = running.with_unused(gradients, reference)
    return torch.cat([gradients[key].flatten() for key in reference])


def run_ours(case, dtype):
    return running.run_ours(running.ours(case, dtype), case, dtype)


@pytest.mark.parametrize("name", [n for n, (_, t) in HUGGING_FACE["hf5"].items() if only(t, "from_latents")])
def test_from_latents_is_that_of_transformers_5(name):
    case, tensors = HUGGING_FACE["hf5"][name]
    results = running.run_from_latents(running.ours(case), tensors["projected_latents"])
    reference = only(tensors, "from_latents")
    running.assert_small({key: peak_error(results[key], value) for key, value in reference.items()})


@pytest.mark.parametrize("name", DESCRIPT)
def test_outputs_are_those_of_the_original(name):
    """Its folded weights differ from ours by a rounding to float32, so even in float64 the difference is 1e-5."""
    case, tensors = DESCRIPT[name]
    exact = in_float64(case)
    assert torch.equal(exact["audio_codes"], tensors["audio_codes"].long())
    stored = {key: value for key, value in outputs(tensors).items() if key != "audio_codes"}
    running.assert_small({key: peak_error(exact[key], value) for key, value in stored.items()})
    model, results, allowed = in_float32(case, exact)
    agreement, _ = running.compare(results, outputs(tensors), model, allowed)
    assert not agreement.affected_frames


def test_a_checkpoint_of_the_original_gives_its_outputs(tmp_path):
    case, tensors = DESCRIPT["one_hop"]
    state = {key.removeprefix("state."): value for key, value in only(tensors, "state").items()}
    arguments = descript.dac_arguments(case["config"])
    torch.save({"state_dict": state, "metadata": {"kwargs": arguments}}, tmp_path / "weights.pth")
    model = DacModel.from_pretrained(tmp_path / "weights.pth")
    running.compare(running.run_ours(model, case), outputs(tensors), model)


def test_each_package_is_named_with_its_version():
    origins = {
        name: json.loads((GOLDEN / f"{name}.json").read_text())["origin"]
        for name in ("hf4", "hf5", "descript")
    }
    versions = {name: (origin["package"], origin["version"]) for name, origin in origins.items()}
    assert versions["hf4"] == ("transformers", "4.56.2")
    assert versions["hf5"][0] == "transformers"
    assert versions["hf5"][1].startswith("5.")
    assert versions["descript"] == ("descript-audio-codec", "1.0.0")
