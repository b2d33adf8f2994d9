"""dacodec and transformers in one process, on the whole grid of cases.py. Run by scripts/oracles/run.sh."""

from __future__ import annotations

import cases
import pytest
import running
import torch
import transformers
from codes import CodeAgreement

CASES = {case["name"]: case for case in cases.live_cases()}
# It raises AttributeError in transformers 4.56.2.
FROM_LATENTS_WORKS = int(transformers.__version__.split(".")[0]) >= 5

total = CodeAgreement()
worst_errors: dict[str, float] = {}


@pytest.mark.parametrize("name", CASES)
def test_same_results(name):
    global total
    case = CASES[name]
    theirs = running.hugging_face(case)
    reference = running.run_hugging_face(theirs, case)
    model = running.ours(case)
    assert model.state_dict().keys() == theirs.state_dict().keys()
    results = running.run_ours(model, case)
    # The same PyTorch kernels in the same order, in one process: here float32 may be compared with float32.
    agreement, errors = running.compare(results, reference, model)
    if FROM_LATENTS_WORKS:
        errors |= running.compare_from_latents(model, theirs, reference, agreement)
    total += agreement
    for key, error in errors.items():
        kind = "gradients" if key.startswith("gradient") else key
        worst_errors[kind] = max(worst_errors.get(kind, 0.0), error)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["float64"]])
def test_same_codes_in_float64(name):
    case = {**CASES[name], "gradients": False}
    reference = running.run_hugging_face(running.hugging_face(case, torch.float64), case, torch.float64)
    model = running.ours(case, torch.float64)
    results = running.run_ours(model, case, torch.float64)
    agreement, errors = running.compare(results, reference, model)
    assert not agreement.affected_frames
    assert max(errors.values()) < 1e-10, errors


def test_affected_frames_are_rare_and_figures(capsys):
    """Last, over everything compared above."""
    with capsys.disabled():
        print(f"\ntransformers {transformers.__version__}: {total}")
        for kind, error in worst_errors.items():
            print(f"  largest relative error of {kind}: {error:.1e}")
    assert total.frames > 10_000
    total.assert_rare()
