"""The compiled library of the native engine: choosing one, and its C interface (native/dacodec.h) in ctypes.

There is one library for each instruction set, all built from the same source. The generic one runs everywhere
and knows which is the best for this processor.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dacodec.engine.native.winograd import winograd
from dacodec.errors import EngineError

TARGETS = ("avx512", "avx2", "generic")  # best first
TARGET_VARIABLE = "DACODEC_NATIVE_TARGET"

KINDS = {"conv": 0, "unit": 1, "down": 2, "up": 3}
ACTIVATIONS = {"none": 0, "snake": 1, "tanh": 2}

_Floats = POINTER(c_float)
_Doubles = POINTER(c_double)


class WinogradMatrices(Structure):
    """``struct dac_winograd``."""

    _fields_ = [
        ("outputs", c_int32),
        ("taps", c_int32),
        ("at", _Doubles),
        ("g", _Doubles),
        ("bt", _Doubles),
    ]


class LayerWeights(Structure):
    """``struct dac_layer``."""

    _fields_ = [
        *[
            (name, c_int32)
            for name in (
                "kind",
                "activation",
                "in_channels",
                "out_channels",
                "in_width",
                "out_width",
                "kernel",
                "stride",
                "dilation",
                "padding",
            )
        ],
        ("winograd", POINTER(WinogradMatrices)),
        *[(name, _Floats) for name in ("weight", "bias", "alpha", "alpha1", "alpha2", "weight2", "bias2")],
    ]


class QuantizerWeights(Structure):
    """``struct dac_quantizer_weights``."""

    _fields_ = [
        *[
            (name, c_int32)
            for name in ("n_codebooks", "codebook_size", "codebook_dim", "hidden_size", "in_width")
        ],
        *[(name, _Floats) for name in ("in_proj", "in_bias", "codebooks", "directions", "feedback")],
    ]


class Held:
    """Arrays for the library, kept alive as long as this object."""

    def __init__(self) -> None:
        self._objects: list[object] = []

    def floats(self, tensor: Tensor) -> object:
        tensor = tensor.detach().to(torch.float32).contiguous()
        self._objects.append(tensor)
        return ctypes.cast(tensor.data_ptr(), ctypes.POINTER(ctypes.c_float))

    def doubles(self, matrix: Sequence[Sequence[object]]) -> object:
        values = [float(x) for row in matrix for x in row]  # type: ignore[arg-type]
        array = (ctypes.c_double * len(values))(*values)
        self._objects.append(array)
        return ctypes.cast(array, ctypes.POINTER(ctypes.c_double))

    def matrices(self, outputs: int, taps: int) -> object:
        w = winograd(outputs, taps)
        matrices = WinogradMatrices(outputs, taps, self.doubles(w.at), self.doubles(w.g), self.doubles(w.bt))
        self._objects.append(matrices)
        return ctypes.pointer(matrices)


class Library:
    """One compiled library: its functions, with their types."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        self.target = self._function("target", c_char_p)().decode()
        self.best_target = self._function("best_target", c_char_p)
        self.error = self._function("error", c_char_p)
        self.network = self._function("network", c_void_p, POINTER(LayerWeights), c_int32, c_int32)
        self.network_free = self._function("network_free", None, c_void_p)
        self.state_bytes = self._function("state_bytes", c_int64, c_void_p)
        self.state_init = self._function("state_init", None, c_void_p, c_void_p)
        self.push = self._function(
            "push", c_int64, c_void_p, c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int32, c_int32
        )
        self.quantizer = self._function("quantizer", c_void_p, POINTER(QuantizerWeights))
        self.quantizer_free = self._function("quantizer_free", None, c_void_p)
        self.quantize = self._function(
            "quantize", c_int32, c_void_p, c_void_p, c_int64, c_int32, c_void_p, c_int32
        )
        self.multiply_adds = self._function("multiply_adds", c_int64, c_int64)

    def fail(self) -> EngineError:
        """The error of the last call that failed in this thread."""
        return EngineError(f"the native engine failed: {self.error().decode()}")

    def _function(self, name: str, result: object, *arguments: object) -> ctypes._NamedFuncPointer:
        function = getattr(self._dll, f"dac_{name}", None)
        if function is None:
            raise EngineError("the native engine was built from a different source; install dacodec again")
        function.restype, function.argtypes = result, arguments
        return function


def library_path(target: str) -> Path:
    return Path(__file__).parents[1] / f"_native_{target}.so"


def is_built() -> bool:
    """Whether the native library was compiled when the package was installed."""
    return library_path("generic").exists()


def load_library(target: str | None = None) -> Library:
    """The library for ``target``: by default the instruction set that the environment variable
    ``DACODEC_NATIVE_TARGET`` names, else the best that this processor has.

    Raises:
        EngineError: if the package was installed without it, or the processor cannot run it.
    """
    return _load(target or os.environ.get(TARGET_VARIABLE) or None)


@cache
def _load(target: str | None) -> Library:
    if not is_built():
        raise EngineError(
            "the native engine was not built because there was no C++ compiler; install g++ or clang++ and "
            "install dacodec again, or use engine='torch'"
        )
    best = Library(library_path("generic")).best_target().decode()
    here = [t for t in TARGETS[TARGETS.index(best) :] if library_path(t).exists()]
    if target is not None and target not in here:
        raise EngineError(
            f"the native engine has no target {target!r} on this machine, which can run "
            f"{', '.join(here)}; choose one of these, by {TARGET_VARIABLE} or target="
        )
    return Library(library_path(target or here[0]))
