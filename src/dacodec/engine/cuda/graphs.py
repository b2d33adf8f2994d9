"""Batches of any shape from few recordings: shapes are rounded up and the padding is masked.

Shapes: B rows, T steps.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.recording import Device, Recording

MOST_RECORDINGS = 64
_SIZES_AN_OCTAVE = 8


def bucket(n: int) -> int:
    """The least of 1, 2, ... 16, 18, 20, ... 32, 36, ... that is at least ``n``: at most an eighth more."""
    step = max(1, (1 << (n - 1).bit_length()) // (2 * _SIZES_AN_OCTAVE))
    return -(-n // step) * step


class _Recorded(NamedTuple):
    inputs: list[Tensor]
    recording: Recording[Tensor]


class Replayed:
    """``compute(rows, lengths, *settings)``, replayed from recordings. A shape is recorded at its second use.

    Args:
        compute: a function of ``rows`` [B, ..., T] and ``lengths`` [B]. Its result has B rows and does not depend on
            padding.
        unit: T is a multiple of this.
    """

    def __init__(
        self,
        compute: Callable[..., Tensor],
        device: Device,
        unit: int = 1,
        most: int = MOST_RECORDINGS,
    ) -> None:
        self._compute, self._device, self._unit, self._most = compute, device, unit, most
        self._recorded: OrderedDict[object, _Recorded | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, rows: Tensor, lengths: Tensor, *settings: int) -> Tensor:
        """A tensor of at least B rows; the surplus is meaningless."""
        padded = self._padded(rows)
        lengths = F.pad(lengths, (0, len(padded) - len(lengths)), value=self._unit)
        with self._lock:
            return self._run([padded, lengths], settings)

    def _padded(self, rows: Tensor) -> Tensor:
        units = rows.shape[-1] // self._unit
        steps = bucket(units) * self._unit - rows.shape[-1]
        padded = F.pad(rows, (0, steps))
        spare = rows.new_zeros(bucket(len(rows)) - len(rows), *padded.shape[1:])
        return torch.cat([padded, spare]) if len(spare) else padded

    def _run(self, inputs: list[Tensor], settings: tuple[int, ...]) -> Tensor:
        key = (*(tuple(x.shape) for x in inputs), settings)
        known = key in self._recorded
        recorded = self._recorded.pop(key, None)
        if not known:  # one use does not pay for a recording, and this run compiles the kernels
            result = self._device.run(lambda: self._compute(*inputs, *settings))
        else:
            recorded = recorded or self._record(inputs, settings)
            for static, x in zip(recorded.inputs, inputs, strict=True):
                static.copy_(x)
            recorded.recording.replay()
            result = recorded.recording.outcome.clone()  # the next replay writes to the same memory
        self._recorded[key] = recorded
        if len(self._recorded) > self._most:
            self._recorded.popitem(last=False)
        return result

    def _record(self, inputs: list[Tensor], settings: tuple[int, ...]) -> _Recorded:
        static = [x.clone() for x in inputs]
        return _Recorded(static, self._device.record(lambda: self._compute(*static, *settings)))
