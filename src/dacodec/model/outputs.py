"""The model's results under Hugging Face's names, with attribute, key and tuple access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


class ModelOutput(Mapping[str, Any]):
    """``out.name``, ``out["name"]``, ``out[0]``, ``**out``; the last three skip fields that are None."""

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())

    def __getitem__(self, key: Any) -> Any:
        return self._present()[key] if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def _present(self) -> dict[str, Any]:
        named = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in named.items() if value is not None}


@dataclass(eq=False)
class DacEncoderOutput(ModelOutput):
    loss: Tensor | None = None  # [B]
    quantized_representation: Tensor | None = None  # [B, D, F]
    audio_codes: Tensor | None = None  # [B, K, F]
    projected_latents: Tensor | None = None  # [B, K * d, F]
    audio_codes_mask: Tensor | None = None  # [B, F] bool, only if a padding mask was given


@dataclass(eq=False)
class DacDecoderOutput(ModelOutput):
    audio_values: Tensor | None = None  # [B, T]


@dataclass(eq=False)
class DacOutput(ModelOutput):
    loss: Tensor | None = None  # [B]
    audio_values: Tensor | None = None  # [B, T]
    quantized_representation: Tensor | None = None  # [B, D, F]
    audio_codes: Tensor | None = None  # [B, K, F]
    projected_latents: Tensor | None = None  # [B, K * d, F]
    audio_codes_mask: Tensor | None = None  # [B, F] bool, only if a padding mask was given


for _output in (DacEncoderOutput, DacDecoderOutput, DacOutput):
    torch.export.register_dataclass(_output, serialized_type_name=f"dacodec.{_output.__name__}")
