"""The compiled CPU engine: convolutions over rows in time, by Winograd's algorithm; docs/engine.md explains it.

A model becomes two chains of layers. What is linear one after the other is multiplied out beforehand, in float64:
the quantizer's out_proj and the decoder's first convolution are one convolution of codebook vectors. Every Snake
is done by the layer before it, while its outputs are in the cache.

Shapes: T samples, D latent dimension, F frames, K codebooks in use, N codebooks, d codebook dimension.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.engine.base import Pushed, State
from dacodec.engine.native_library import (
    ACTIVATIONS,
    KINDS,
    LayerWeights,
    Library,
    QuantizerWeights,
    WinogradMatrices,
    load_library,
)
from dacodec.engine.threads import default_threads, usable_cores
from dacodec.engine.winograd import winograd
from dacodec.errors import EngineError
from dacodec.model import DacModel
from dacodec.model.dac import Decoder, Encoder
from dacodec.model.layers import ResidualUnit, Snake
from dacodec.model.quantizer import ResidualVectorQuantizer, check_codes

_Part = TypeVar("_Part")

PRECISIONS = ("fast", "exact")
_ROW = 16  # rows of channels are padded to a multiple of so many floats
# Which F(outputs, taps) where.
_TAPS7, _TAPS2 = (4, 4), (4, 2)
# F(4, 2) takes 2.5 times the room of the weights. Where they are so many and the rows so few, that costs more time
# (to pack and to read) and memory than 3 of 8 products are worth.
_MOST_WINOGRAD_WEIGHTS = 1 << 23

# One part is packed at a time. A forked child gets a lock of its own: the parent's may be held.
_packing = threading.Lock()


def _renew_lock() -> None:
    global _packing
    _packing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class NativeEngine:
    """Runs a model on the CPU in float32. Weights are repacked when the model's change.

    Args:
        precision: ``"fast"`` uses Winograd's algorithm, relative errors of some 3e-6; ``"exact"`` convolves
            directly, some 1e-6.
        threads: of each call, of which only as many run as the process may use cores; left out,
            :func:`~dacodec.engine.threads.default_threads`. The result does not depend on it.
        target: the instruction set, ``"avx512"``, ``"avx2"`` or ``"generic"``; left out, the one that
            the environment variable ``DACODEC_NATIVE_TARGET`` names, else the processor's best.

    Raises:
        EngineError: if the engine was not built, for an unknown precision, or for a target that is unknown or
            that this processor does not have.
    """

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
        """Copies and pickles carry the model, and pack it again."""
        return NativeEngine, (self.model, self.precision, self._threads, self._target)

    @property
    def threads(self) -> int:
        """Of each call: those asked for, at most one a core."""
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
        """The model's weights as the library wants them.

        Raises:
            EngineError: if the model is not in float32 on the CPU.
        """
        version = _version(self.model)
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
    """A model's weights as they were at one time, in the library's hands: each part from its first use on."""

    def __init__(self, library: Library, model: DacModel, fast: bool, threads: int) -> None:
        self._library, self._model, self._fast, self._threads = library, model, fast, threads
        self._parts: dict[str, Any] = {}

    @property
    def encoder(self) -> Network:
        return self._part("encoder", lambda: self._network(_encoder_layers))

    @property
    def quantizer(self) -> Quantizer:
        return self._part("quantizer", lambda: Quantizer(self._library, self._model.quantizer))

    @property
    def decoder(self) -> Network:
        return self._part("decoder", lambda: self._network(_decoder_layers))

    @property
    def _vectors(self) -> Tensor:
        """[N, size, d + 1]: a 1 after each codebook vector carries the bias of its out_proj."""
        books = self._model.quantizer.quantizers
        return self._part(
            "vectors", lambda: F.pad(torch.stack([q.codebook.weight for q in books]), (0, 1), value=1.0)
        )

    def _network(self, layers: Callable[[DacModel, bool], list[LayerPlan]]) -> Network:
        return Network(self._library, layers(self._model, self._fast), self._threads)

    def _part(self, name: str, make: Callable[[], _Part]) -> _Part:
        if name not in self._parts:
            with _packing, torch.inference_mode():
                if name not in self._parts:
                    self._parts[name] = make()
        part: _Part = self._parts[name]
        return part

    def embed(self, codes: Tensor) -> Tensor:
        """Rows for the decoder [F, width]: the codebook vectors of ``codes`` [K, F]."""
        k, n_frames = codes.shape
        rows = torch.zeros(n_frames, self.decoder.in_width)
        vectors = self._vectors[torch.arange(k)[:, None], codes]  # [K, F, d + 1]
        rows[:, : k * vectors.shape[2]] = vectors.transpose(0, 1).flatten(1)
        return rows


class Network:
    """A chain of layers over rows [time steps, width] that come bit by bit.

    Widths are channels, padded with zeros to a multiple of 16; audio has width 1.
    """

    def __init__(self, library: Library, layers: Sequence[LayerPlan], threads: int) -> None:
        self._library = library
        self.in_width, self.out_width = layers[0].in_width, layers[-1].out_width
        held = _Held()
        plans = (LayerWeights * len(layers))(*(layer.as_c(held) for layer in layers))
        self._handle = library.network(plans, len(layers), threads)
        if not self._handle:
            raise library.fail()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.network_free(self._handle)

    def states(self, n_rows: int, before: State = None) -> Tensor:
        """Where rows stand [B, bytes]: at the start, or a copy of ``before``, for :meth:`push` to write to."""
        if before is not None:
            # By NumPy, in this thread: PyTorch would share it out, and its threads, which spin for milliseconds
            # after their work, would then take the processor from the team's.
            return torch.from_numpy(before.numpy().copy())
        states = torch.empty(n_rows, self._library.state_bytes(self._handle), dtype=torch.uint8)
        for state in states:
            self._library.state_init(self._handle, state.data_ptr())
        return states

    def push(self, rows: Tensor, state: Tensor, most_rows: int, threads: int, end: bool = False) -> Tensor:
        """What the chain makes of ``rows`` after those before, ``most_rows`` at most. Writes ``state`` [bytes].

        Args:
            end: these are the signal's last; the zeros that the convolutions see beyond are pushed through.
        """
        rows = rows.contiguous()
        out = torch.empty(most_rows, self.out_width)
        made = self._library.push(
            self._handle,
            state.data_ptr(),
            rows.data_ptr(),
            len(rows),
            out.data_ptr(),
            most_rows,
            end,
            threads,
        )
        if made < 0:
            raise self._library.fail()
        return out[:made]

    def run(self, rows: Tensor, most_rows: int, threads: int) -> Tensor:
        """What the chain makes of a whole signal."""
        return self.push(rows, self.states(1)[0], most_rows, threads, end=True)


class Quantizer:
    """Searches the codebooks, with the residual kept in their few dimensions (native/quantizer.h)."""

    def __init__(self, library: Library, quantizer: ResidualVectorQuantizer) -> None:
        self._library = library
        held = _Held()
        books = quantizer.quantizers
        codebooks = torch.stack([q.codebook.weight for q in books])  # [N, size, d]
        n, size, d = codebooks.shape
        in_proj = torch.cat([q.in_proj.weight[:, :, 0] for q in books])  # [N * d, D]
        outs = torch.stack([_with_bias(q.out_proj) for q in books])  # [N, D, d + 1]
        feedback = (in_proj.double() @ outs).transpose(1, 2)  # [N, d + 1, N * d]
        hidden_size = in_proj.shape[1]
        weights = QuantizerWeights(
            n,
            size,
            d,
            hidden_size,
            _padded(hidden_size),
            held.floats(in_proj),
            held.floats(torch.cat([_bias(q.in_proj) for q in books])),
            held.floats(codebooks),
            held.floats(F.normalize(codebooks, dim=-1)),
            held.floats(feedback),
        )
        self._handle = library.quantizer(weights)
        if not self._handle:
            raise library.fail()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.quantizer_free(self._handle)

    def quantize(self, latents: Tensor, n_quantizers: int, threads: int) -> Tensor:
        """Codes [K, F] of ``latents`` [F, padded D]."""
        codes = torch.empty(n_quantizers, len(latents), dtype=torch.int64)
        if self._library.quantize(
            self._handle, latents.data_ptr(), len(latents), n_quantizers, codes.data_ptr(), threads
        ):
            raise self._library.fail()
        return codes


class _Held:
    """Arrays for the library, kept alive as long as this is."""

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


class LayerPlan:
    """One layer: its shape, its tensors under the names of ``struct dac_layer``, and its F(outputs, taps)."""

    def __init__(
        self,
        kind: str,
        conv: _Convolution,
        after: Snake | str,
        winograd: tuple[int, int] | None = None,
        from_audio: bool = False,
        **tensors: Tensor,
    ) -> None:
        self.kind, self.conv, self.winograd = kind, conv, winograd
        self.activation = after if isinstance(after, str) else "snake"
        self.in_width = 1 if from_audio else _padded(conv.in_channels)
        self.out_width = 1 if self.activation == "tanh" else _padded(conv.out_channels)
        self.tensors = {"weight": conv.weight, "bias": conv.bias, **tensors}
        if isinstance(after, Snake):
            self.tensors["alpha"] = after.alpha

    def as_c(self, held: _Held) -> LayerWeights:
        conv = self.conv
        return LayerWeights(
            KINDS[self.kind],
            ACTIVATIONS[self.activation],
            conv.in_channels,
            conv.out_channels,
            self.in_width,
            self.out_width,
            conv.kernel,
            conv.stride,
            conv.dilation,
            conv.padding,
            winograd=held.matrices(*self.winograd) if self.winograd else None,
            **{name: held.floats(tensor) for name, tensor in self.tensors.items()},
        )


class _Convolution(NamedTuple):
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    dilation: int
    padding: int
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Conv1d | nn.ConvTranspose1d) -> _Convolution:
        return cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            conv.dilation[0],
            int(conv.padding[0]),
            conv.weight,
            _bias(conv),
        )


def _encoder_layers(model: DacModel, fast: bool) -> list[LayerPlan]:
    return encoder_layers(model.encoder, fast)


def _decoder_layers(model: DacModel, fast: bool) -> list[LayerPlan]:
    return decoder_layers(model.decoder, fast, _from_codebook_vectors(model))


def encoder_layers(encoder: Encoder, fast: bool) -> list[LayerPlan]:
    taps7 = _TAPS7 if fast else None
    layers = [LayerPlan("conv", _Convolution.of(encoder.conv1), "none", from_audio=True)]
    for i, block in enumerate(encoder.block):
        last = i + 1 == len(encoder.block)
        layers += [
            _unit(block.res_unit1, "none", taps7),
            _unit(block.res_unit2, "none", taps7),
            _unit(block.res_unit3, block.snake1, taps7),
            _resampling("down", block.conv1, encoder.snake1 if last else "none", fast),
        ]
    return [*layers, LayerPlan("conv", _Convolution.of(encoder.conv2), "none")]


def decoder_layers(decoder: Decoder, fast: bool, first: _Convolution) -> list[LayerPlan]:
    """The decoder's, after ``first``: its own first convolution, or one that starts from codebook vectors."""
    taps7 = _TAPS7 if fast else None
    # Every block begins with a Snake, which the layer before it does.
    snakes = [*(block.snake1 for block in decoder.block), decoder.snake1]
    layers = [LayerPlan("conv", first, snakes[0])]
    for block, snake in zip(decoder.block, snakes[1:], strict=True):
        layers += [
            _resampling("up", block.conv_t1, "none", fast),
            _unit(block.res_unit1, "none", taps7),
            _unit(block.res_unit2, "none", taps7),
            _unit(block.res_unit3, snake, taps7),
        ]
    return [*layers, LayerPlan("conv", _Convolution.of(decoder.conv2), "tanh")]


def _unit(unit: ResidualUnit, after: Snake | str, winograd: tuple[int, int] | None) -> LayerPlan:
    return LayerPlan(
        "unit",
        _Convolution.of(unit.conv1),
        after,
        winograd,
        alpha1=unit.snake1.alpha,
        alpha2=unit.snake2.alpha,
        weight2=unit.conv2.weight,
        bias2=_bias(unit.conv2),
    )


def _resampling(kind: str, conv: nn.Conv1d | nn.ConvTranspose1d, after: Snake | str, fast: bool) -> LayerPlan:
    fast = fast and conv.weight.numel() < _MOST_WINOGRAD_WEIGHTS
    return LayerPlan(kind, _Convolution.of(conv), after, _TAPS2 if fast else None)


def _from_codebook_vectors(model: DacModel) -> _Convolution:
    """The decoder's first convolution after every codebook's out_proj, as one convolution of [N * (d + 1)]."""
    conv = _Convolution.of(model.decoder.conv1)
    outs = torch.cat([_with_bias(q.out_proj) for q in model.quantizer.quantizers], 1)  # [D, N * (d + 1)]
    weight = (conv.weight.transpose(1, 2).double() @ outs).transpose(1, 2)
    return conv._replace(in_channels=outs.shape[1], weight=weight)


def _with_bias(out_proj: nn.Conv1d) -> Tensor:
    """[D, d + 1], float64: the weights, and the bias as the weight of a 1 that follows each vector."""
    return torch.cat([out_proj.weight[:, :, 0], _bias(out_proj)[:, None]], 1).double()


def _bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _padded(channels: int) -> int:
    return -(-channels // _ROW) * _ROW


def _lengths(lengths: Tensor | None, batch: Tensor) -> list[int]:
    return [batch.shape[-1]] * len(batch) if lengths is None else lengths.tolist()


def _version(model: DacModel) -> object:
    """Changes when any of the model's weights does."""
    return [(p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype) for p in model.parameters()]
