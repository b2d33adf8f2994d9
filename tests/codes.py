"""The project's one definition of "the same codes".

Two implementations of the same model round differently, and a latent that lies half-way between two codebook
entries may then fall to either. The rule that tells this from an error:

- Computed in float64, the codes are identical.
- Computed in fp32, the latents agree within 1e-5 of their rms, or within the caller's figure for fp32's own error on
  this machine (rounding.py). In a frame whose codes differ, only the first codebook that differs is judged, since
  later ones quantise another residual: in float64, the two candidates must be almost equally far from the projected
  residual (squared distances between unit vectors, which the search compares, less than 1e-4 apart). Fewer than 1
  frame in 10,000 may be affected.

In a clip of fewer than 10,000 frames even one would be too many, so a single comparison allows none. A test over many
clips adds up their agreements and asserts the rate on the sum; the rest of the rule is checked clip by clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

MAX_LATENT_ERROR = 1e-5
MAX_GAP = 1e-4
FRAMES_PER_AFFECTED_FRAME = 10_000


@dataclass(frozen=True)
class CodeAgreement:
    """The result of a comparison that kept the rule: only near-ties differ."""

    frames: int = 0
    affected_frames: int = 0
    worst_gap: float = 0.0
    worst_latent_error: float = 0.0

    def __add__(self, other: CodeAgreement) -> CodeAgreement:
        return CodeAgreement(
            self.frames + other.frames,
            self.affected_frames + other.affected_frames,
            max(self.worst_gap, other.worst_gap),
            max(self.worst_latent_error, other.worst_latent_error),
        )

    def assert_rare(self) -> None:
        assert self.affected_frames * FRAMES_PER_AFFECTED_FRAME < self.frames or not self.affected_frames, (
            f"{self.affected_frames} of {self.frames} frames differ, by near-ties; "
            f"fewer than 1 in {FRAMES_PER_AFFECTED_FRAME} may"
        )


def assert_same_codes(
    codes: torch.Tensor,
    reference_codes: torch.Tensor,
    latents: torch.Tensor,
    reference_latents: torch.Tensor,
    state: Mapping[str, torch.Tensor],
) -> CodeAgreement:
    """Assert the whole rule on one comparison; see `compare_codes` for the arguments."""
    agreement = compare_codes(codes, reference_codes, latents, reference_latents, state)
    agreement.assert_rare()
    return agreement


def compare_codes(
    codes: torch.Tensor,
    reference_codes: torch.Tensor,
    latents: torch.Tensor,
    reference_latents: torch.Tensor,
    state: Mapping[str, torch.Tensor],
    max_latent_error: float = MAX_LATENT_ERROR,
) -> CodeAgreement:
    """Assert everything but the rate, which the caller asserts on the sum of its comparisons.

    Args:
        codes, reference_codes: [B, K, F], any integer dtype; K may be less than the model's codebooks.
        latents, reference_latents: [B, D, F], what the encoder hands to the quantizer. If both are float64,
            the codes have to be identical.
        state: the model's state dict, of which the quantizer's part is used.
        max_latent_error: of the latents' rms.
    """
    assert codes.shape == reference_codes.shape, (
        f"{tuple(codes.shape)} codes, not {tuple(reference_codes.shape)}"
    )
    assert latents.shape == reference_latents.shape
    assert codes.shape[::2] == latents.shape[::2]
    codes, reference_codes = codes.cpu().long(), reference_codes.cpu().long()
    in_float64 = latents.dtype == reference_latents.dtype == torch.float64
    latents, reference_latents = latents.detach().cpu().double(), reference_latents.detach().cpu().double()

    rms = reference_latents.square().mean().sqrt()
    latent_error = ((latents - reference_latents).abs().max() / rms).item()
    # Written so that nan fails.
    assert latent_error <= max_latent_error, f"the latents differ by {latent_error:.1e} of their rms"

    differs = codes != reference_codes
    frames = codes.shape[0] * codes.shape[2]
    n_affected = int(differs.any(1).sum())
    if in_float64:
        assert not n_affected, f"{n_affected} of {frames} frames differ in float64"
    gap = _worst_gap(differs, codes, reference_codes, reference_latents, state) if n_affected else 0.0
    return CodeAgreement(frames, n_affected, gap, latent_error)


def _worst_gap(differs, codes, reference_codes, latents, state):
    """Assert that the frames that differ are near-ties; returns the widest gap."""
    items, frames = differs.any(1).nonzero(as_tuple=True)
    # One row for each frame that differs.
    first = differs[items, :, frames].int().argmax(1)
    codes, reference_codes = codes[items, :, frames], reference_codes[items, :, frames]
    residual = latents[items, :, frames]

    worst = 0.0
    for k in range(int(first.max()) + 1):
        prefix = f"quantizer.quantizers.{k}."
        layer = {
            name: state[prefix + name].detach().cpu().double()
            for name in (
                "in_proj.weight",
                "in_proj.bias",
                "out_proj.weight",
                "out_proj.bias",
                "codebook.weight",
            )
        }
        codebook = layer["codebook.weight"]
        here = first == k
        if here.any():
            projected = F.linear(residual[here], layer["in_proj.weight"].squeeze(2), layer["in_proj.bias"])
            target = F.normalize(projected)
            candidates, reference_candidates = codes[here, k], reference_codes[here, k]
            distance = (F.normalize(codebook[candidates]) - target).square().sum(1)
            reference_distance = (F.normalize(codebook[reference_candidates]) - target).square().sum(1)
            gaps = (distance - reference_distance).abs()
            i = int(gaps.argmax())
            gap = gaps[i].item()
            assert gap < MAX_GAP, (
                f"item {items[here][i]}, frame {frames[here][i]}, codebook {k}: "
                f"code {candidates[i]}, not {reference_candidates[i]}, whose distance is {gap:.1e} apart"
            )
            worst = max(worst, gap)
        # Up to the first codebook that differs, both followed the same codes.
        out = F.linear(
            codebook[reference_codes[:, k]], layer["out_proj.weight"].squeeze(2), layer["out_proj.bias"]
        )
        residual = residual - out
    return worst
