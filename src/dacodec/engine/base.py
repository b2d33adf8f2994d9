"""How a model is run: the one interface that the codec uses."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from dacodec.geometry import Geometry

CHUNK_SECONDS = 5.0  # enough for a CPU

State = Any
"""The position of rows between two pushes: a value that may be copied, kept and pickled. None at first, then
a tensor whose first dimension is rows, or a tuple of such states (so that batching/rows.py can join and split
them). Valid only for the kind of engine and the model that made it, and for the same number of rows."""


class Pushed(NamedTuple):
    output: Tensor
    state: State


class Engine(Protocol):
    """Runs the encoder and the decoder of one model on batches of rows.

    Calls are independent (no state is kept between them) and thread-safe. Rows may be the channels of one
    recording or different recordings. Audio is float32 on the CPU; engines move and convert it.

    ``encode`` and ``decode`` take whole signals, ``push_audio`` and ``push_codes`` the same signals piece by
    piece: together, the outputs are those of the whole signal, however it is cut.
    """

    geometry: Geometry
    chunk_seconds: float
    """Seconds of audio per row that keep the engine busy: the default chunk size for long audio."""

    def encode(self, audio: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        """Codes [B, K, F] (int64) of ``audio`` [B, T] at the model's rate.

        Args:
            audio: float32; T a multiple of the hop.
            lengths: [B], the number of real samples in each row, multiples of the hop; the rest is ignored,
                and its codes are 0. By default all are real.
            n_quantizers: codebooks to use, 1..N; by default all.
        """
        ...

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Audio [B, T] (float32) of ``codes`` [B, K, F], T as ``geometry.samples(F)`` says.

        Args:
            lengths: [B], the number of real frames in each row; the audio of the rest is 0. By default all
                are real.
        """
        ...

    def push_audio(
        self, audio: Tensor, state: State = None, n_quantizers: int | None = None, end: bool = False
    ) -> Pushed:
        """The codes [B, K, F] that the next ``audio`` [B, T] completes, F and T any number.

        Args:
            state: returned by the previous push; None starts a signal.
            end: these are the last samples; the whole signal's length is a multiple of the hop.
        """
        ...

    def push_codes(self, codes: Tensor, state: State = None, end: bool = False) -> Pushed:
        """The audio [B, T] that the next ``codes`` [B, K, F] complete, F and T any number.

        Args:
            state, end: as for :meth:`push_audio`.
        """
        ...
