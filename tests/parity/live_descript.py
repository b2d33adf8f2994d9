"""dacodec and descript-audio-codec in one process. Run by scripts/oracles/run.sh.

The original folds its weight normalisation in fp32 before every layer, ours once in float64, so a quarter of the
weights differ by a bit or a few. Hence two comparisons: with identical folded weights, and as shipped.
"""

from __future__ import annotations

import cases
import descript
import pytest
import running
import torch
import torch.nn.functional as F
from codes import CodeAgreement
from rounding import peak_error

from dacodec import DacModel

# This is the only mode of the original whose outputs also exist in Hugging Face's.
CASES = {case["name"]: {**case, "gradients": False} for case in cases.live_cases() if case["mode"] == "eval"}

total = CodeAgreement()
worst_errors: dict[str, float] = {}


def n_blocks(case):
    return len(case["config"]["downsampling_ratios"])


def hugging_face_names(state, case):
    return {descript.hugging_face_key(key, n_blocks(case)): value for key, value in state.items()}


def note(agreement, errors, kind):
    global total
    total += agreement
    for key, error in errors.items():
        worst_errors[f"{key}, {kind}"] = max(worst_errors.get(f"{key}, {kind}", 0.0), error)


@pytest.mark.parametrize("name", CASES)
def test_same_results_with_the_same_folded_weights(name):
    case = CASES[name]
    theirs = descript.fold(descript.build(case))
    reference = descript.run(theirs, case)
    model = running.ours(case)
    model.load_state_dict(hugging_face_names(theirs.state_dict(), case))
    note(*running.compare(running.run_ours(model, case), reference, model), "same weights")


@pytest.mark.parametrize("name", CASES)
def test_same_results_as_shipped(name):
    case = CASES[name]
    theirs = descript.build(case)
    reference = descript.run(theirs, case)
    model = running.ours(case)
    # The weights differ by a bit or a few: both are as close to float64 as float32 can be, and so to each other.
    exact = descript.run(descript.build(case, torch.float64), case, torch.float64)
    allowed = running.limits(reference, exact)
    agreement, errors = running.compare(running.run_ours(model, case), exact, model, allowed)

    # Its forward pads to whole hops and cuts the audio afterwards.
    audio = running.case_audio(case)
    padded = F.pad(audio, (0, -audio.shape[-1] % model.config.hop_length))
    with torch.no_grad():
        whole = theirs(audio, n_quantizers=case["n_quantizers"])
        ours = model(padded, case["n_quantizers"])
    if torch.equal(ours.audio_codes, whole["codes"]):
        values = ours.audio_values[..., : audio.shape[-1]]
        errors["forward.audio_values"] = peak_error(values, whole["audio"][:, 0])
        running.assert_small(errors, allowed)
    else:
        # The same near-ties, as `compare` found them to be.
        differ = (ours.audio_codes != whole["codes"]).any(1).sum()
        assert differ <= agreement.affected_frames
    note(agreement, errors, "as shipped")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["float64"]])
def test_same_codes_in_float64(name):
    case = CASES[name]
    theirs = descript.build(case, torch.float64)
    reference = descript.run(theirs, case, torch.float64)
    model = running.ours(case, torch.float64)
    # In float64 it folds its weights more exactly than they were in fp32.
    model.load_state_dict(hugging_face_names(descript.folded(theirs.state_dict()), case))
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
    return descript.fold(theirs).state_dict()


@pytest.mark.parametrize("form", [old_form, parametrized_form, folded_form])
@pytest.mark.parametrize("name", ["full_16khz", "full_44khz-16kbps", "pair_2"])
def test_a_checkpoint_is_read_as_the_original_reads_it(name, form, tmp_path):
    case = CASES[name]
    theirs = descript.build(case)
    reference = descript.run(theirs, case)
    normalised = theirs.state_dict()
    state = form(theirs)
    arguments = descript.dac_arguments(case["config"])
    torch.save({"state_dict": state, "metadata": {"kwargs": arguments}}, tmp_path / "weights.pth")
    model = DacModel.from_pretrained(tmp_path / "weights.pth")
    running.compare(running.run_ours(model, case), reference, model)

    # Ours are the exactly folded weights, rounded once.
    weights = model.state_dict()
    exact = hugging_face_names(descript.folded(normalised), case)
    assert weights.keys() == exact.keys()
    if form is not folded_form:
        for key, value in exact.items():
            torch.testing.assert_close(weights[key], value.float(), rtol=1.2e-7, atol=0)
    # The original's, folded in fp32, were off by up to 3.6e-7.
    for key, value in hugging_face_names(descript.fold(theirs).state_dict(), case).items():
        torch.testing.assert_close(weights[key], value, rtol=1e-6, atol=0)


def test_affected_frames_are_rare_and_figures(capsys):
    """Last, over everything compared above."""
    with capsys.disabled():
        print(f"\ndescript-audio-codec: {total}")
        for kind, error in worst_errors.items():
            print(f"  largest relative error of {kind}: {error:.1e}")
    total.assert_rare()
