"""What an exported model says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dacodec.config import DacConfig
from dacodec.export.streaming import StreamingDecoder, StreamingEncoder
from dacodec.model import DacModel


@dataclass(frozen=True)
class Card:
    """Identity, shape and, for the streaming form, delays."""

    name: str
    version: str  # of dacodec
    licence: str  # of the weights
    fingerprint: str
    config: DacConfig
    lost_samples: int  # of a decoded signal, to odd strides
    encoder_state: int
    encoder_delay_frames: int
    decoder_state: int
    decoder_delay_samples: int
    decoder_flush_frames: int
    decoder_halo_frames: int

    @classmethod
    def of(cls, model: DacModel, name: str, version: str, licence: str, fingerprint: bytes) -> Card:
        encoder, decoder = StreamingEncoder(model), StreamingDecoder(model)
        return cls(
            name=name,
            version=version,
            licence=licence,
            fingerprint=fingerprint.hex(),
            config=model.config,
            lost_samples=-decoder.stages.after.excess,
            encoder_state=encoder.state_size,
            encoder_delay_frames=encoder.delay_frames,
            decoder_state=decoder.state_size,
            decoder_delay_samples=decoder.delay_samples,
            decoder_flush_frames=decoder.flush_frames,
            decoder_halo_frames=model.geometry.decoder_halo + decoder.flush_frames,
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "config": self.config.to_dict()}

    def metadata(self) -> dict[str, str]:
        """For a file's metadata, where all values are text; the config is JSON."""
        return {key: v if isinstance(v, str) else json.dumps(v) for key, v in self.to_dict().items()}
