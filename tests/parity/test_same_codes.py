"""The rule of codes.py accepts near-ties and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from codes import CodeAgreement, assert_same_codes, compare_codes

BATCH, N_CODEBOOKS, DIM, CODEBOOK_DIM, SIZE = 2, 3, 12, 4, 32


def quantizer_state():
    torch.manual_seed(0)
    state = {}
    for k in range(N_CODEBOOKS):
        prefix = f"quantizer.quantizers.{k}."
        state[prefix + "in_proj.weight"] = torch.randn(CODEBOOK_DIM, DIM, 1) / DIM**0.5
        state[prefix + "in_proj.bias"] = 0.1 * torch.randn(CODEBOOK_DIM)
        state[prefix + "out_proj.weight"] = torch.randn(DIM, CODEBOOK_DIM, 1) / DIM**0.5
        state[prefix + "out_proj.bias"] = 0.1 * torch.randn(DIM)
        state[prefix + "codebook.weight"] = torch.randn(SIZE, CODEBOOK_DIM)
    return state


def quantize(latents, state, take_second=None):
    """Codes by definition, in float64, and how much farther the second nearest are.

    `take_second` = (item, frame, codebook) takes the second nearest there.
    """
    residual = latents.double()
    codes, gaps = [], []
    for k in range(N_CODEBOOKS):
        prefix = f"quantizer.quantizers.{k}."
        layer = {
            key.removeprefix(prefix): value.double() for key, value in state.items() if key.startswith(prefix)
        }
        projected = F.conv1d(residual, layer["in_proj.weight"], layer["in_proj.bias"])
        directions = F.normalize(projected).transpose(1, 2)  # [B, F, d]
        codebook = layer["codebook.weight"]
        distances = (directions[:, :, None] - F.normalize(codebook)).square().sum(-1)  # [B, F, size]
        nearest = distances.topk(2, largest=False)
        chosen = nearest.indices[..., 0].clone()
        if take_second is not None and take_second[2] == k:
            item, frame, _ = take_second
            chosen[item, frame] = nearest.indices[item, frame, 1]
        codes.append(chosen)
        gaps.append(nearest.values[..., 1] - nearest.values[..., 0])
        residual = residual - F.conv1d(
            codebook[chosen].transpose(1, 2), layer["out_proj.weight"], layer["out_proj.bias"]
        )
    return torch.stack(codes, 1), torch.stack(gaps, 1)


@pytest.fixture(scope="module")
def state():
    return quantizer_state()


@pytest.fixture(scope="module")
def latents(state):
    """Many frames, one of them with a near-tie in codebook 1."""
    torch.manual_seed(1)
    latents = torch.randn(BATCH, DIM, 10_500)
    near, far = latents[1, :, 7].clone().double(), latents[1, :, 8].clone().double()

    def codes_of(vector):
        return quantize(vector[None, :, None], state)[0][0, :, 0]

    # Bisect to a boundary between two entries of codebook 1 inside one cell of codebook 0.
    generator = torch.Generator().manual_seed(2)
    while codes_of(near)[0] != codes_of(far)[0] or codes_of(near)[1] == codes_of(far)[1]:
        far = near + 0.3 * torch.randn(DIM, generator=generator, dtype=torch.double)
    for _ in range(14):
        middle = (near + far) / 2
        if codes_of(middle)[1] == codes_of(near)[1]:
            near = middle
        else:
            far = middle
    latents[1, :, 7] = near.float()
    return latents


@pytest.fixture(scope="module")
def codes_and_gaps(latents, state):
    return quantize(latents, state)


def test_same_codes_agree(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    agreement = assert_same_codes(codes.to(torch.int16), codes, latents, latents, state)
    assert agreement == CodeAgreement(frames=21_000)


def test_a_near_tie_is_let_through(latents, state, codes_and_gaps):
    codes, gaps = codes_and_gaps
    gap = gaps[1, 1, 7].item()
    assert 0 < gap < 1e-4
    other, _ = quantize(latents, state, take_second=(1, 7, 1))
    # Codes after the near-tie may differ freely.
    assert (other[1, :, 7] != codes[1, :, 7]).tolist()[:2] == [False, True]
    agreement = assert_same_codes(other, codes, latents, latents, state)
    assert (agreement.frames, agreement.affected_frames) == (21_000, 1)
    assert agreement.worst_gap == pytest.approx(gap, rel=1e-9)


def test_a_near_tie_is_judged_by_the_residual_of_its_codebook(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    other, _ = quantize(latents, state, take_second=(1, 7, 1))
    wrong = {
        **state,
        "quantizer.quantizers.0.out_proj.bias": state["quantizer.quantizers.0.out_proj.bias"] + 1,
    }
    with pytest.raises(AssertionError, match="item 1, frame 7, codebook 1"):
        assert_same_codes(other, codes, latents, latents, wrong)


def test_a_near_tie_is_not_let_through_in_float64(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    other, _ = quantize(latents, state, take_second=(1, 7, 1))
    with pytest.raises(AssertionError, match="1 of 21000 frames differ in float64"):
        assert_same_codes(other, codes, latents.double(), latents.double(), state)


@pytest.mark.parametrize("codebook", range(N_CODEBOOKS))
def test_the_second_nearest_is_rejected(latents, state, codes_and_gaps, codebook):
    codes, gaps = codes_and_gaps
    frame = int(gaps[0, codebook].argmax())
    other, _ = quantize(latents, state, take_second=(0, frame, codebook))
    with pytest.raises(AssertionError, match=f"item 0, frame {frame}, codebook {codebook}"):
        assert_same_codes(other, codes, latents, latents, state)


def test_a_difference_after_a_near_tie_is_not_judged_but_one_before_is(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    other, _ = quantize(latents, state, take_second=(1, 7, 1))
    other[1, 2, 7] = (other[1, 2, 7] + 5) % SIZE
    assert_same_codes(other, codes, latents, latents, state)
    other[1, 0, 7] = (other[1, 0, 7] + 5) % SIZE
    with pytest.raises(AssertionError, match="item 1, frame 7, codebook 0"):
        assert_same_codes(other, codes, latents, latents, state)


def test_one_near_tie_is_too_many_for_a_short_clip(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    other, _ = quantize(latents, state, take_second=(1, 7, 1))
    short = slice(0, 5000)
    arguments = other[..., short], codes[..., short], latents[..., short], latents[..., short], state
    with pytest.raises(AssertionError, match="1 of 10000 frames differ, by near-ties"):
        assert_same_codes(*arguments)
    # With one frame more, in another clip, it is fewer than 1 in 10,000.
    agreement = compare_codes(*arguments)
    (agreement + CodeAgreement(frames=1)).assert_rare()


def test_latents_that_differ_are_rejected(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    rms = latents.square().mean().sqrt()
    other = latents.clone()
    other[0, 0, 0] += 0.9e-5 * rms
    assert_same_codes(codes, codes, other, latents, state)
    other[0, 0, 0] += 0.3e-5 * rms
    with pytest.raises(AssertionError, match=r"latents differ by 1\.2e-05"):
        assert_same_codes(codes, codes, other, latents, state)
    other[0, 0, 0] = torch.nan
    with pytest.raises(AssertionError, match="latents differ by nan"):
        assert_same_codes(codes, codes, other, latents, state)


def test_another_number_of_codebooks_is_rejected(latents, state, codes_and_gaps):
    codes, _ = codes_and_gaps
    with pytest.raises(AssertionError, match="codes, not"):
        assert_same_codes(codes[:, :2], codes, latents, latents, state)
