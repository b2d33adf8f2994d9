"""The entropy coder in C++ (native/entropy.cpp): the results of entropy.py, about a hundred times as fast."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int8, c_int16, c_int32, c_int64, c_uint8, c_uint16, c_void_p
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.container.entropy import LIMIT, PROBABILITY
from dacodec.container.prior import Prior

_PATH = Path(__file__).with_name("_entropy.so")
_ARRAYS = {
    "rate": c_uint8,
    "n_sources": c_int32,
    "lag": c_int32,
    "source": c_int32,
    "order": c_uint16,
    "leaf": c_uint16,
    "bias": c_int16,
    "node_vectors": c_int8,
    "context": c_int8,
    "probability": c_uint16,
}


class _Prior(Structure):
    """``struct dac_prior``; the arrays live as long as it does."""

    _fields_ = [
        *[(name, c_int32) for name in ("width", "dimensions", "max_sources")],
        *[(name, POINTER(kind)) for name, kind in _ARRAYS.items()],
        ("limit", c_int32),
    ]

    def __init__(self, prior: Prior) -> None:
        max_sources, n_codes, dimensions = prior.context.shape[1:]
        super().__init__(prior.width, dimensions, max_sources, limit=LIMIT)
        values = {
            "n_sources": [len(tree.sources) for tree in prior.trees],
            "context": prior.context[:, :, : n_codes - 1],  # C++ leaves out the last entry, "no code"
            "probability": PROBABILITY,
        }
        self.arrays = []
        for name, kind in _ARRAYS.items():
            array = np.ascontiguousarray(values.get(name, getattr(prior, name, None)), kind)
            setattr(self, name, array.ctypes.data_as(POINTER(kind)))
            self.arrays.append(array)


def is_built() -> bool:
    """Whether the native library was compiled when the package was installed."""
    return _PATH.exists()


def decode_segments(
    prior: Prior, segments: list[list[bytes | None]], codes: NDArray[Any], channels: int
) -> None:
    """As :func:`dacodec.container.entropy.decode_segments`."""
    flat = [segment for packets in segments for segment in packets]
    sizes = np.array([-1 if segment is None else len(segment) for segment in flat], np.int64)
    data = np.frombuffer(b"".join(segment or b"" for segment in flat) or b"\0", np.uint8)
    own = np.ascontiguousarray(codes, np.uint16)
    _call("decode_segments", _packed(prior), data, sizes, own, *own.shape, channels)
    if own is not codes:
        codes[...] = own


def encode_segments(prior: Prior, codes: NDArray[Any], channels: int) -> list[list[bytes]]:
    """As :func:`dacodec.container.entropy.encode_segments`."""
    n_codebooks, n_packets, n_symbols = codes.shape
    if codes.size and codes.max() >> prior.width:  # the last check before C++ indexes memory with it
        raise ValueError(f"code {codes.max()} for a prior of {prior.width} bits")
    codes = np.ascontiguousarray(codes, np.uint16)
    data = np.empty((n_codebooks, n_packets, 2 * n_symbols * prior.width + 4), np.uint8)
    sizes = np.empty((n_codebooks, n_packets), np.int64)
    _call("encode_segments", _packed(prior), codes, data, sizes, data.shape[2], *codes.shape, channels)
    return [
        [row[:size].tobytes() for row, size in zip(rows, lengths, strict=True)]
        for rows, lengths in zip(data, sizes, strict=True)
    ]


def _call(name: str, prior: _Prior, *arguments: NDArray[Any] | int) -> None:
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    if not getattr(_library(), f"dac_{name}")(ctypes.byref(prior), *values):
        raise MemoryError("not enough memory for the entropy coder's trees")


@lru_cache(maxsize=4)
def _packed(prior: Prior) -> _Prior:
    return _Prior(prior)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_PATH))
    arrays, shape = [c_void_p] * 4, [c_int32, c_int32, c_int64, c_int32]
    library.dac_decode_segments.argtypes = [*arrays, *shape]
    library.dac_encode_segments.argtypes = [*arrays, c_int64, *shape]
    return library
