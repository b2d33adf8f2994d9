"""How a model is run: the one interface that the codec uses."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from dacodec.geometry import Geometry

State = Any
"""Where rows stand between two pushes: a value, which may be copied, kept and pickled. None before the first, then a
tensor whose first dimension is rows, or a tuple of such states (so batching/rows.py can join and split them). It fits
the kind of engine and the model that made it, and as many rows."""


class Pushed(NamedTuple):
    output: Tensor
    state: State


class Engine(Protocol):
    """Runs the encoder and the decoder of one model on batches of rows.

    Every call is on its own (no state is kept between calls) and safe from several threads. Rows may be the
    channels of one recording or different recordings. Audio is float32 on the CPU; engines move and convert.

    ``encode`` and ``decode`` take whole signals, ``push_audio`` and ``push_codes`` the same signals piece by
    piece: all outputs of a signal together are those of the whole, whatever the pieces.
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

    def push_audio(
        self, audio: Tensor, state: State = None, n_quantizers: int | None = None, end: bool = False
    ) -> Pushed:
        """The codes [B, K, F] that the next ``audio`` [B, T] completes, F and T any number.

        Args:
            state: as the push before returned it.
            end: these are the last samples; of the whole signal there is a multiple of the hop.
        """
        ...

    def push_codes(self, codes: Tensor, state: State = None, end: bool = False) -> Pushed:
        """The audio [B, T] that the next ``codes`` [B, K, F] complete, F and T any number.

        Args:
            state, end: as for :meth:`push_audio`.
        """
        ...
