"""Validation during a run: the mel distance of a few fixed crops of validation data."""

from __future__ import annotations

import torch
from torch import Tensor

from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.spectra import mel_distance
from dacodec.training.crops import Crops

VALIDATION_CROPS = 32


class Validator:
    """Mel distance of a few fixed crops."""

    def __init__(self, crops: Crops | None, shape: DacConfig, device: torch.device) -> None:
        self.crops = crops
        self.device = device
        self.model = DacModel(shape).eval().to(device) if crops else None

    @torch.no_grad()
    def __call__(self, weights: dict[str, Tensor]) -> tuple[float | None, list[tuple[Tensor, Tensor]]]:
        """The mean distance, and some pairs of original and decoded audio [T]."""
        if self.crops is None or self.model is None:
            return None, []
        self.model.load_state_dict(weights)
        distances, pairs = [], []
        for i in range(VALIDATION_CROPS):
            audio = torch.from_numpy(self.crops[i])[None, None].to(self.device)
            decoded = self.model(audio).audio_values
            reference = audio[0, :, : decoded.shape[-1]]
            distances.append(mel_distance(decoded, reference, self.crops.sampling_rate))
            if i < 4:
                pairs.append((reference[0].cpu(), decoded[0].cpu()))
        return float(torch.stack(distances).mean()), pairs
