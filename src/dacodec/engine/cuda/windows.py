"""Runs a network for whole signals on a signal in pieces: each piece comes with the context that its outputs need.

The state is the end of the input, at most a receptive field, which is computed again at the next push. On a GPU this
costs less than launching the layers, and all pushes share a few shapes.

Shapes: B rows that advance together, T inputs. Inputs and outputs are samples and frames, or frames and samples.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from dacodec.engine.base import State
from dacodec.geometry import Geometry


class Window(NamedTuple):
    """What to compute for a push."""

    inputs: Tensor  # [B, ..., T], a multiple of the unit
    first: int  # the outputs that the push returns: first, and one past the last
    last: int
    state: State


class Windows:
    """Cuts windows for one direction: audio to frames (``down``) or frames to audio."""

    def __init__(self, geometry: Geometry, down: bool) -> None:
        self._chain = geometry.encoder if down else geometry.decoder
        self._hop = geometry.config.hop_length
        self._down = down

    def push(self, x: Tensor, state: State, end: bool) -> Window:
        """The window for the next inputs ``x`` [B, ..., T]."""
        if state is not None:
            tail, (start, made) = state[0], state[1][0].tolist()
            x = torch.cat([tail, x], -1)
        else:
            start = made = 0
        n = start + x.shape[-1]
        ready = max(made, self._of_whole(n) if end else self._ready(n))
        kept = max(start, self._first_input(ready))
        place = torch.tensor([[kept, ready]]).expand(len(x), 2).clone()
        offset = start // self._hop if self._down else start * self._hop
        return Window(
            self._whole_units(x), made - offset, ready - offset, (x[..., kept - start :].clone(), place)
        )

    def _whole_units(self, x: Tensor) -> Tensor:
        missing = -x.shape[-1] % self._hop if self._down else 0
        return torch.nn.functional.pad(x, (0, missing))

    def _of_whole(self, n: int) -> int:
        return max(0, self._chain.output_length(n)) if n else 0

    def _ready(self, n: int) -> int:
        """How many outputs depend on the first ``n`` inputs only."""
        if self._down:
            return max(0, (n - 1 - self._last_of_first) // self._hop + 1)
        return max(0, n * self._hop - self._lag)

    def _first_input(self, output: int) -> int:
        """The first input that ``output`` and later ones need, rounded down to a frame's first sample."""
        first = max(0, self._chain.inputs_of(output, output)[0])
        return first // self._hop * self._hop if self._down else first

    @cached_property
    def _last_of_first(self) -> int:
        return self._chain.inputs_of(0, 0)[1]

    @cached_property
    def _lag(self) -> int:
        """How many samples the decoder's output lags behind its input."""
        n = 2 + self._chain.inputs_of(0, self._hop)[1]
        sample = n * self._hop
        while self._chain.inputs_of(sample - 1, sample - 1)[1] >= n:
            sample -= 1
        return n * self._hop - sample
