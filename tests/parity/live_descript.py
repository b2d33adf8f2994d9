"""Ours beside descript-audio-codec in one process. Run by scripts/oracles/run.sh."""

from __future__ import annotations

import cases
import descript
import pytest
import running
import torch
import torch.nn.functional as F
from codes import CodeAgreement

from dacodec import DacModel

# The original has no other mode in which its outputs are Hugging Face's too.
CASES = {case["name"]: {**case, "gradients": False} for case in cases.live_cases() if case["mode"] == "eval"}

total = CodeAgreement()
worst_errors: dict[str, float] = {}


def n_blocks(case):
    return len(case["config"]["downsampling_ratios"])


@pytest.mark.parametrize("name", CASES)
def test_same_results(name):
    global total
    case = CASES[name]
    theirs, reference = descript.run(case)
    model = running.ours(case)
    agreement, errors = running.compare(running.run_ours(model, case), reference, model)

    # Its forward pads to whole hops and cuts the audio again.
    audio = running.case_audio(case)
    padded = F.pad(audio, (0, -audio.shape[-1] % model.config.hop_length))
    with torch.no_grad():
        reference = theirs(audio, n_quantizers=case["n_quantizers"])["audio"][:, 0]
        ours = model(padded, case["n_quantizers"]).audio_values[..., : audio.shape[-1]]
    if not agreement.affected_frames:
        errors["forward.audio_values"] = running.relative_error(ours, reference)
        running.assert_small(errors)

    total += agreement
    for key, error in errors.items():
        worst_errors[key] = max(worst_errors.get(key, 0.0), error)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["float64"]])
def test_same_codes_in_float64(name):
    case = CASES[name]
    theirs, reference = descript.run(case, torch.float64)
    model = running.ours(case, torch.float64)
    # In float64 it folds its weights more exactly than they were in fp32.
    state = descript.folded(theirs.state_dict())
    model.load_state_dict({descript.hugging_face_key(k, n_blocks(case)): v for k, v in state.items()})
    agreement, errors = running.compare(running.run_ours(model, case, torch.float64), reference, model)
    assert not agreement.affected_frames
    assert max(errors.values()) < 1e-10, errors


def old_form(theirs):
    return theirs.state_dict()


def parametrized_form(theirs):
    names = {
        ".weight_g": ".parametrizations.weight.original0",
        ".weight_v": ".parametrizations.weight.original1",
    }
    return {
        key[:-9] + names[key[-9:]] if key[-9:] in names else key: v for key, v in theirs.state_dict().items()
    }


def folded_form(theirs):
    for module in theirs.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return theirs.state_dict()


@pytest.mark.parametrize("form", [old_form, parametrized_form, folded_form])
@pytest.mark.parametrize("name", ["full_16khz", "full_44khz-16kbps", "pair_2"])
def test_a_checkpoint_is_read_as_the_original_reads_it(name, form, tmp_path):
    case = CASES[name]
    theirs, reference = descript.run(case)
    arguments = descript.dac_arguments(case["config"])
    torch.save({"state_dict": form(theirs), "metadata": {"kwargs": arguments}}, tmp_path / "weights.pth")
    model = DacModel.from_pretrained(tmp_path / "weights.pth")
    running.compare(running.run_ours(model, case), reference, model)

    weights = model.state_dict()
    for key, value in folded_form(theirs).items():
        ours = weights.pop(descript.hugging_face_key(key, n_blocks(case)))
        torch.testing.assert_close(ours, value, rtol=3e-7, atol=0)
    assert not weights


def test_affected_frames_are_rare_and_figures(capsys):
    """Last, over everything compared above."""
    with capsys.disabled():
        print(f"\ndescript-audio-codec: {total}")
        for kind, error in worst_errors.items():
            print(f"  largest relative error of {kind}: {error:.1e}")
    total.assert_rare()
