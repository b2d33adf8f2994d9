"""Runs a case of cases.py on a model, ours or another package's, and compares the results."""

from __future__ import annotations

import contextlib
from unittest import mock

import torch
from codes import MAX_LATENT_ERROR, CodeAgreement, compare_codes
from rounding import limit, peak_error, worst_error
from weights import random_audio, random_weights

MAX_ERROR = 1e-5  # for results in float32, unless PyTorch's own error here is more than a quarter of it


def hugging_face(case, dtype=torch.float32):
    """transformers' model with the case's weights."""
    from transformers import DacConfig, DacModel

    # All or no items take part in its dropout, so that the counts can be set from outside.
    config = DacConfig(**case["config"], quantizer_dropout=1.0 if case["mode"] == "counts" else 0.0)
    return _with_weights(DacModel, config, case, dtype)


def ours(case, dtype=torch.float32):
    from dacodec.config import DacConfig
    from dacodec.model import DacModel

    return _with_weights(DacModel, DacConfig(**case["config"]), case, dtype)


def _with_weights(model_class, config, case, dtype):
    # "meta" skips the unused initial weights.
    with torch.device("meta"):
        model = model_class(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, case["seed"]), assign=True)
    return model.to(dtype).train(case["mode"] != "eval")


def run_hugging_face(model, case, dtype=torch.float32):
    with contextlib.ExitStack() as stack:
        if case["mode"] == "counts":
            # Replaces its random draw in training mode: one number per item.
            counts = torch.tensor(case["counts"])
            stack.enter_context(mock.patch("torch.randint", return_value=counts))
        return _run(model, case, case["n_quantizers"], dtype)


def run_ours(model, case, dtype=torch.float32):
    counts = case["counts"]
    return _run(model, case, case["n_quantizers"] if counts is None else torch.tensor(counts), dtype)


def case_audio(case, dtype=torch.float32):
    return random_audio(case["seed"] + 1, case["batch"], case["samples"]).to(dtype)


def _run(model, case, n_quantizers, dtype):
    """All results of the model; gradients under "gradient.<key>", that of the input under "gradient"."""
    audio = case_audio(case, dtype)
    results = {}
    hook = model.encoder.register_forward_hook(lambda *call: results.update(latents=call[-1]))
    with torch.no_grad():
        encoded = model.encode(audio, n_quantizers)
        hook.remove()
        results |= {
            "loss": encoded.loss,
            "quantized_representation": encoded.quantized_representation,
            "audio_codes": encoded.audio_codes,
            "projected_latents": encoded.projected_latents,
            "audio_values": model.decode(encoded.quantized_representation).audio_values,
            "audio_values_from_codes": model.decode(audio_codes=encoded.audio_codes).audio_values,
        }
    audio.requires_grad_(case["gradients"])
    with torch.set_grad_enabled(case["gradients"]):
        whole = model(audio, n_quantizers)
    for name in ("loss", "quantized_representation", "audio_codes", "projected_latents"):
        assert torch.equal(whole[name], results[name]), f"forward and encode differ in {name}"
    results["forward.audio_values"] = whole.audio_values.detach()
    if case["gradients"]:
        results |= _gradients(model, audio, whole, case)
    return results


def _gradients(model, audio, output, case):
    probe = random_audio(case["seed"] + 1000, *output.audio_values.shape)[:, 0].to(audio.dtype)
    # The probe gives every sample weight, with both signs; the factor makes it about as large as the loss.
    (output.loss.mean() + 10 * (output.audio_values * probe).mean()).backward()
    gradients = {f"gradient.{key}": parameter.grad for key, parameter in model.named_parameters()}
    gradients["gradient"] = audio.grad
    model.zero_grad()
    # Unused codebooks have none.
    return {key: value for key, value in gradients.items() if value is not None}


def run_from_latents(model, projected_latents):
    with torch.no_grad():
        quantized_representation, quantized_latents = model.quantizer.from_latents(projected_latents)[:2]
    return {
        "from_latents.quantized_representation": quantized_representation,
        "from_latents.quantized_latents": quantized_latents,
    }


def compare_from_latents(model, theirs, reference, agreement):
    """Assert parity of from_latents, in all frames except those that `compare` accepted as near-ties."""
    projected = reference["projected_latents"]
    same = (model.quantizer.codes_of(projected) == reference["audio_codes"]).all(1)
    assert (~same).sum() <= agreement.affected_frames
    ours, others = run_from_latents(model, projected), run_from_latents(theirs, projected)
    errors = {
        key: peak_error(ours[key].transpose(1, 2)[same], value.transpose(1, 2)[same])
        for key, value in others.items()
    }
    assert_small(errors)
    return errors


def only_gradients(results):
    return {key: value for key, value in results.items() if key.startswith("gradient")}


def with_unused(gradients, others):
    """The gradients, with zeros for parameters that only the other model has gradients of: they were not used here."""
    return {key: gradients.get(key, torch.zeros_like(value)) for key, value in (others | gradients).items()}


def limits(pytorchs, reference) -> dict[str, float]:
    """The allowed error of each float32 result against `reference` in float64: a multiple of the error of `pytorchs`,
    another float32 result from this machine."""
    latents = limit(worst_error(pytorchs["latents"], reference["latents"]), floor=MAX_LATENT_ERROR)
    allowed = {"latents' worst": latents}
    if not torch.equal(pytorchs["audio_codes"], reference["audio_codes"]):
        return allowed  # near-ties say nothing about rounding
    for name in reference.keys() & pytorchs.keys() - {"audio_codes"}:
        allowed[name] = limit(peak_error(pytorchs[name], reference[name]), floor=MAX_ERROR)
    return allowed


def compare(results, reference, model, allowed=None) -> tuple[CodeAgreement, dict[str, float]]:
    """Assert parity; returns how well the codes agree and the relative error of everything else.

    All results in `reference` are compared. If codes differ (only near-ties may), results that depend on them are
    compared where the codes are the same, and the audio is decoded from the reference's codes. `allowed` comes from
    `limits`; by default MAX_ERROR for everything.
    """
    state, allowed = model.state_dict(), allowed or {}
    agreement = compare_codes(
        results["audio_codes"],
        reference["audio_codes"],
        results["latents"],
        reference["latents"],
        state,
        allowed.get("latents' worst", MAX_LATENT_ERROR),
    )
    reference = dict(reference)
    results = dict(results)
    gradients, others = only_gradients(results), only_gradients(reference)
    if others:
        results |= with_unused(gradients, others)
        reference |= with_unused(others, gradients)
    if agreement.affected_frames:
        assert not any(key.startswith("gradient") for key in reference), "codes differ: take another seed"
        same = (results["audio_codes"] == reference["audio_codes"]).all(1)
        for name in ("quantized_representation", "projected_latents"):
            for side in (results, reference):
                side[name] = side[name].transpose(1, 2)[same]
        with torch.no_grad():
            decoded = model.decode(audio_codes=reference["audio_codes"].long()).audio_values
        for name in ("audio_values", "audio_values_from_codes", "forward.audio_values"):
            if name in reference:
                results[name] = decoded[..., : reference[name].shape[-1]]
        # A loss is a mean over all frames, a few of which have another residual in their last codebooks.
        results.pop("loss"), reference.pop("loss")
    errors = {
        name: peak_error(results[name], value) for name, value in reference.items() if name != "audio_codes"
    }
    assert_small(errors, allowed)
    return agreement, errors


def assert_small(errors, allowed=None, most=MAX_ERROR):
    allowed = allowed or {}
    large = {
        name: f"{error:.1e} of {allowed.get(name, most):.1e}"
        for name, error in errors.items()
        if not error <= allowed.get(name, most)
    }
    assert not large, f"relative errors above what is allowed: {large}"
