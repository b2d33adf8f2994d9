"""The models that are served. Clients can choose among these by name, and load no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dacodec.codec import Codec
from dacodec.encoded import Model
from dacodec.errors import ModelMismatchError
from dacodec.serve.problems import Problem


class Models:
    """
    Args:
        codecs: the first is the default.
    """

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self.codecs = list(codecs)

    def named(self, name: str | None) -> Codec:
        """The codec of that name; None means the default.

        Raises:
            Problem: if there is none.
        """
        for codec in self.codecs:
            if name in (None, codec.model.name):
                return codec
        raise Problem(
            404, "no_such_model", "no model of this name is served", f"choose one of: {self._names}"
        )

    def that_made(self, model: Model, n_codebooks: int) -> Codec:
        """The codec that can decode codes of ``model``.

        Raises:
            ModelMismatchError: if that model is not served.
        """
        for codec in self.codecs:
            if codec.model.fingerprint == model.fingerprint:
                codec.check_model(model, n_codebooks)
                return codec
        raise ModelMismatchError(
            f"these codes were made by {model.name!r} ({model.fingerprint.hex()[:12]}), which is not served here; "
            f"served are {self._names}"
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [_facts(codec) for codec in self.codecs]

    @property
    def _names(self) -> str:
        return ", ".join(codec.model.name for codec in self.codecs)


def _facts(codec: Codec) -> dict[str, Any]:
    model = codec.model
    return {
        "name": model.name,
        "fingerprint": model.fingerprint.hex(),
        "sampling_rate": model.sampling_rate,
        "hop_length": model.hop_length,
        "frames_per_second": model.frames_per_second,
        "n_codebooks": codec.n_codebooks,
        "codebook_size": model.codebook_size,
        "kbps_per_codebook": model.bitrate_kbps(1),
        "encoder_lookahead_seconds": codec.stream_encoder(model.sampling_rate).lookahead_seconds,
        "decoder_lookahead_seconds": codec.stream_decoder().lookahead_seconds,
    }
