"""How a model is run: the one interface that the codec uses."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dacodec.geometry import Geometry


class Engine(Protocol):
    """Runs the encoder and the decoder of one model on batches of rows.

    Every call is on its own (no state is kept between calls) and safe from several threads. Rows may be the
    channels of one recording or different recordings. Audio is float32 on the CPU; engines move and convert.

    Streaming will add ``init_state`` and ``step``, with the state as an argument and a return value.
    """

    geometry: Geometry

    def encode(self, audio: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        """Codes [B, K, F] (int64) of ``audio`` [B, T] at the model's rate.

        Args:
            audio: float32; T a multiple of the hop.
            lengths: [B] samples of each row that are real, multiples of the hop; the others are ignored and
                the codes beyond are 0. Left out, all are real.
            n_quantizers: codebooks to use, 1..N; left out, all.
        """
        ...

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Audio [B, T] (float32) of ``codes`` [B, K, F], T as ``geometry.samples(F)`` says.

        Args:
            lengths: [B] frames of each row that are real; the audio beyond is 0. Left out, all are real.
        """
        ...
