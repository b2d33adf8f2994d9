"""The resampler in C++ (native/resample.cpp): the sums of resampling.py in float32, several times as fast.

Every output is the sum of the same terms in the same order however the signal is cut, so its bytes are the
same under every instruction set. Its error is float32's rounding: at most 2^-24 times the sum of (d + s + 4)
|tap| |input| over all inputs, where d is an input's distance in samples and s the number of inputs between
the first and the last output of a group; a tap and its product are each rounded once, and the sum once for
every input added later. In practice the error is about one unit in the last place of the signal's peak.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacodec.audio.arrays import Samples

TARGETS = ("avx512", "avx2", "generic")  # best first
_LANES = 16
_MOST_PHASES = 2048  # ratios with more phases interpolate their taps
_STEPS = 512  # interpolation nodes per input: a cubic's error is then below 1e-10
_MOST_TAPS = 1 << 22  # in memory

# Taps [n, 2 * reach + 1] of outputs at ``phases`` [n] after an input.
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Table(Structure):
    """``struct dac_resample_table``; the arrays live as long as it does."""

    function = "dac_resample_by_table"
    _fields_ = [
        ("down", c_int64),
        ("up", c_int64),
        ("window", c_int64),
        ("first", c_void_p),
        ("taps", c_void_p),
    ]

    def __init__(self, down: int, up: int, first: NDArray[np.int64], taps: NDArray[np.float32]) -> None:
        super().__init__(down, up, taps.shape[1], first.ctypes.data, taps.ctypes.data)
        self._arrays = first, taps


class Curves(Structure):
    """``struct dac_resample_curves``; the array lives as long as it does."""

    function = "dac_resample_by_curves"
    _fields_ = [
        ("down", c_int64),
        ("up", c_int64),
        ("reach", c_int64),
        ("steps", c_int64),
        ("taps", c_void_p),
    ]

    def __init__(self, down: int, up: int, reach: int, taps: NDArray[np.float64]) -> None:
        super().__init__(down, up, reach, len(taps) - 1, taps.ctypes.data)
        self._array = taps


class _Input(Structure):
    """``struct dac_resample_input``."""

    _fields_ = [("samples", c_void_p), ("channels", c_int64), ("length", c_int64), ("origin", c_int64)]


class _Output(Structure):
    """``struct dac_resample_output``."""

    _fields_ = [("samples", c_void_p), ("start", c_int64), ("stop", c_int64)]


Taps = Table | Curves


def is_built() -> bool:
    """Whether the native library was compiled when the package was installed."""
    return _path("generic").exists()


def taps_of(down: int, up: int, reach: int, kernel: Kernel) -> Taps | None:
    """The taps for ``up`` outputs from ``down`` inputs, in lowest terms; None if they are too many."""
    size = 2 * reach + 1
    times = next(m for m in range(1, _LANES + 1) if -(m * up) % _LANES <= 0.04 * m * up or m == _LANES)
    window = size + _spread(down, up)
    if up <= _MOST_PHASES and (times * up + _LANES) * window <= _MOST_TAPS:
        return _table(times * down, times * up, size, kernel)
    steps = max(8, math.ceil(_STEPS * min(1.0, up / down)))
    if (steps + 1) * size <= _MOST_TAPS:
        return Curves(down, up, reach, np.ascontiguousarray(kernel(np.arange(steps + 1) / steps)))
    return None


def resample(
    taps: Taps, tail: Samples, origin: int, start: int, stop: int, library: ctypes.CDLL | None = None
) -> Samples:
    """Outputs ``start`` to ``stop`` of a signal that is ``tail`` [C, n] from ``origin`` on, else zero."""
    tail = np.ascontiguousarray(tail, np.float32)
    outputs = np.empty((len(tail), stop - start), np.float32)
    given = _Input(tail.ctypes.data, *tail.shape, origin)
    wanted = _Output(outputs.ctypes.data, start, stop)
    if not getattr(library or load_library(), taps.function)(byref(taps), byref(given), byref(wanted)):
        raise MemoryError("not enough memory for resampling")
    return outputs


def _spread(down: int, up: int) -> int:
    """The most inputs between those of the first and the last lane."""
    return -(-(_LANES - 1) * down // up)


def _table(down: int, up: int, size: int, kernel: Kernel) -> Table:
    n = np.arange(-(-up // _LANES) * _LANES)  # outputs of a block; those beyond ``up`` are discarded
    base = (n * down // up).reshape(-1, _LANES)
    first = base[:, 0] - size // 2
    taps = np.zeros((len(base), size + _spread(down, up), _LANES), np.float32)
    rows = kernel(n * down % up / up).astype(np.float32).reshape(*base.shape, size)
    group, lane = np.indices(base.shape)[..., None]
    taps[group, (base - base[:, :1])[..., None] + np.arange(size), lane] = rows
    return Table(down, up, first, taps)


def best_target() -> str:
    """The best instruction set that this processor has."""
    function = ctypes.CDLL(str(_path("generic"))).dac_resample_best_target
    function.restype, function.argtypes = c_char_p, ()
    return str(function().decode())


@cache
def load_library(target: str | None = None) -> ctypes.CDLL:
    """The library for ``target``, by default the best instruction set that this processor has."""
    if target is None:
        at_most = TARGETS[TARGETS.index(best_target()) :]
        target = next(name for name in at_most if _path(name).exists())
    library = ctypes.CDLL(str(_path(target)))
    for taps in (Table, Curves):
        function = getattr(library, taps.function)
        function.restype, function.argtypes = c_int32, (POINTER(taps), POINTER(_Input), POINTER(_Output))
    return library


def _path(target: str) -> Path:
    return Path(__file__).with_name(f"_resample_{target}.so")
