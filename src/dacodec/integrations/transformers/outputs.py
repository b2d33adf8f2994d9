"""transformers' results, with the mask of the codes where a padding mask was given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.models.dac import modeling_dac


@dataclass
class DacEncoderOutput(modeling_dac.DacEncoderOutput):
    audio_codes_mask: Tensor | None = None  # [B, F] bool


@dataclass
class DacOutput(modeling_dac.DacOutput):
    audio_codes_mask: Tensor | None = None  # [B, F] bool


DacDecoderOutput = modeling_dac.DacDecoderOutput
