"""The compiled CPU engine: convolutions over rows in time, by Winograd's algorithm; docs/engine.md explains it.

Shapes: T samples, F frames, K codebooks in use, N codebooks, d codebook dimension.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dacodec.engine.base import CHUNK_SECONDS, Pushed, State
from dacodec.engine.native.layers import LayerPlan, decoder_layers, encoder_layers, from_codebook_vectors
from dacodec.engine.native.library import Library, load_library
from dacodec.engine.native.networks import Network, Quantizer
from dacodec.engine.native.threads import default_threads, usable_cores
from dacodec.engine.versions import version as version_of
from dacodec.errors import EngineError
from dacodec.model import DacModel
from dacodec.model.quantizer import check_codes

_Part = TypeVar("_Part")

PRECISIONS = ("fast", "exact")
# One part is packed at a time. A forked child gets a lock of its own: the parent's may be held.
_packing = threading.Lock()


def _renew_lock() -> None:
    global _packing
    _packing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class NativeEngine:
    """Runs a model on the CPU in float32. When the model's weights change, they are packed again.

    Args:
        precision: ``"fast"`` uses Winograd's algorithm, with relative errors of about 3e-6; ``"exact"``
            convolves directly, with about 1e-6.
        threads: per call, capped at the cores this process may use; by default
            :func:`~dacodec.engine.native.threads.default_threads`. The result does not depend on it.
        target: the instruction set, ``"avx512"``, ``"avx2"`` or ``"generic"``; by default the one that the
            environment variable ``DACODEC_NATIVE_TARGET`` names, else the processor's best.

    Raises:
        EngineError: if the engine was not built, the precision or target is unknown, or this processor does
            not support the target.
    """

    chunk_seconds = CHUNK_SECONDS

    def __init__(
        self,
        model: DacModel,
        precision: str = "fast",
        threads: int | None = None,
        target: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise EngineError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
        self.model = model.eval()
        self.geometry = model.geometry
        self.precision = precision
        self._threads = threads
        self._target = target
        self._library = load_library(target)
        self._packed: tuple[object, PackedModel] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles carry only the model, and pack it again."""
        return NativeEngine, (self.model, self.precision, self._threads, self._target)

    @property
    def threads(self) -> int:
        """Threads per call: as many as asked for, at most one per core."""
        return min(self._threads or default_threads(), usable_cores())

    def encode(self, audio: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        packed, geometry = self.packed(), self.geometry
        audio = audio.detach().to("cpu", torch.float32)
        n = self.model.quantizer.check_count(n_quantizers)
        codes = torch.zeros(len(audio), n, geometry.frames(audio.shape[-1]), dtype=torch.int64)
        for row, samples, out in zip(audio, _lengths(lengths, audio), codes, strict=True):
            latents = packed.encoder.run(row[:samples, None], geometry.frames(samples), self.threads)
            out[:, : len(latents)] = packed.quantizer.quantize(latents, n, self.threads)
        return codes

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        packed, geometry, config = self.packed(), self.geometry, self.model.config
        codes = check_codes(codes.detach().cpu(), config.n_codebooks, config.codebook_size)
        audio = torch.zeros(len(codes), geometry.samples(codes.shape[-1]))
        for row, frames, out in zip(codes, _lengths(lengths, codes), audio, strict=True):
            vectors = packed.embed(row[:, :frames])
            decoded = packed.decoder.run(vectors, geometry.samples(frames), self.threads)
            out[: len(decoded)] = decoded[:, 0]
        return audio

    def push_audio(
        self, audio: Tensor, state: State = None, n_quantizers: int | None = None, end: bool = False
    ) -> Pushed:
        packed, geometry = self.packed(), self.geometry
        audio = audio.detach().to("cpu", torch.float32)
        n = self.model.quantizer.check_count(n_quantizers)
        most = audio.shape[1] // geometry.config.hop_length + 2 * geometry.encoder_halo + 2
        states = packed.encoder.states(len(audio), state)
        codes = []
        for row, row_state in zip(audio, states, strict=True):
            latents = packed.encoder.push(row[:, None], row_state, most, self.threads, end)
            codes.append(packed.quantizer.quantize(latents, n, self.threads))
        return Pushed(torch.stack(codes), states)

    def push_codes(self, codes: Tensor, state: State = None, end: bool = False) -> Pushed:
        packed, geometry, config = self.packed(), self.geometry, self.model.config
        codes = check_codes(codes.detach().cpu(), config.n_codebooks, config.codebook_size)
        most = (codes.shape[2] + 2 * geometry.decoder_halo + 2) * config.hop_length
        states = packed.decoder.states(len(codes), state)
        audio = []
        for row, row_state in zip(codes, states, strict=True):
            decoded = packed.decoder.push(packed.embed(row), row_state, most, self.threads, end)
            audio.append(decoded[:, 0])
        return Pushed(torch.stack(audio), states)

    def packed(self) -> PackedModel:
        """The model's weights in the library's form.

        Raises:
            EngineError: if the model is not in float32 on the CPU.
        """
        version = version_of(self.model)
        packed = self._packed
        if packed is None or packed[0] != version:
            with _packing:
                packed = self._packed
                if packed is None or packed[0] != version:
                    packed = self._packed = version, self._pack()
        return packed[1]

    def _pack(self) -> PackedModel:
        model = self.model
        if model.device.type != "cpu" or model.dtype != torch.float32:
            raise EngineError(
                f"the native engine runs float32 on the CPU, the model is {model.dtype} on {model.device}; "
                "use engine='torch'"
            )
        return PackedModel(self._library, model, self.precision == "fast", self.threads)


class PackedModel:
    """A snapshot of a model's weights in the library, each part packed at its first use."""

    def __init__(self, library: Library, model: DacModel, fast: bool, threads: int) -> None:
        self._library, self._model, self._fast, self._threads = library, model, fast, threads
        self._parts: dict[str, Any] = {}

    @property
    def encoder(self) -> Network:
        return self._part("encoder", lambda: self._network(encoder_layers(self._model.encoder, self._fast)))

    @property
    def quantizer(self) -> Quantizer:
        return self._part("quantizer", lambda: Quantizer(self._library, self._model.quantizer))

    @property
    def decoder(self) -> Network:
        return self._part("decoder", lambda: self._network(self._decoder_layers()))

    @property
    def _vectors(self) -> Tensor:
        """[N, size, d + 1]: a 1 after each codebook vector carries the bias of its out_proj."""
        books = self._model.quantizer.quantizers
        return self._part(
            "vectors", lambda: F.pad(torch.stack([q.codebook.weight for q in books]), (0, 1), value=1.0)
        )

    def _decoder_layers(self) -> list[LayerPlan]:
        return decoder_layers(self._model.decoder, self._fast, from_codebook_vectors(self._model))

    def _network(self, layers: list[LayerPlan]) -> Network:
        return Network(self._library, layers, self._threads)

    def _part(self, name: str, make: Callable[[], _Part]) -> _Part:
        if name not in self._parts:
            with _packing, torch.inference_mode():
                if name not in self._parts:
                    self._parts[name] = make()
        part: _Part = self._parts[name]
        return part

    def embed(self, codes: Tensor) -> Tensor:
        """The codebook vectors of ``codes`` [K, F], as rows for the decoder [F, width]."""
        k, n_frames = codes.shape
        rows = torch.zeros(n_frames, self.decoder.in_width)
        vectors = self._vectors[torch.arange(k)[:, None], codes]  # [K, F, d + 1]
        rows[:, : k * vectors.shape[2]] = vectors.transpose(0, 1).flatten(1)
        return rows


def _lengths(lengths: Tensor | None, batch: Tensor) -> list[int]:
    return [batch.shape[-1]] * len(batch) if lengths is None else lengths.tolist()
