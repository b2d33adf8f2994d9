"""The engine for GPUs: batches of bounded size, masked, and replayed from recordings if they are short.

Shapes: B rows, T samples, F frames, K codebooks in use.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dacodec.engine.base import Pushed, State
from dacodec.engine.cuda.graphs import Replayed
from dacodec.engine.cuda.plain import PlainDecoder, PlainEncoder
from dacodec.engine.cuda.windows import Windows
from dacodec.engine.recording import Cuda, Device
from dacodec.engine.versions import version as version_of
from dacodec.errors import EngineError
from dacodec.model import DacModel
from dacodec.model.quantizer import check_codes

# Seconds of audio, all rows together: the most in one batch, and the most that is recorded as a graph. Longer batches
# take longer to compute than to launch.
MOST_SECONDS = 80.0
MOST_RECORDED_SECONDS = 20.0
_packing = threading.Lock()


class CudaEngine:
    """Runs a model on a GPU. When the model's weights change, they are packed and recorded again.

    Args:
        precision: ``"exact"`` is float32 without TF32, by PyTorch's kernels; ``"fast"`` is this package's fused kernels in
            half precision with float32 sums, pairs of halves where codes depend on them (docs/gpu.md).
        device: records and replays work; by default CUDA on the model's device.

    Raises:
        EngineError: if the model is not on a GPU, or ``"fast"`` was asked for without Triton.
    """

    chunk_seconds = MOST_SECONDS / 2

    def __init__(self, model: DacModel, precision: str = "exact", device: Device | None = None) -> None:
        if device is None and model.device.type != "cuda":
            raise EngineError(
                f"engine='cuda' needs the model on a GPU, this one is on {model.device}; give device='cuda'"
            )
        if precision == "fast" and not has_triton():
            raise EngineError("precision='fast' on a GPU needs Triton: pip install triton, or choose 'exact'")
        self.model = model.eval()
        self.geometry = model.geometry
        self.precision = precision
        self._device = device or Cuda(model.device, shared_pool=True)
        self._audio_windows = Windows(self.geometry, down=True)
        self._code_windows = Windows(self.geometry, down=False)
        self._made: tuple[object, _Networks] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles carry only the model, and pack it again."""
        return CudaEngine, (self.model, self.precision)

    @torch.inference_mode()
    def encode(self, audio: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        n = self.model.quantizer.check_count(n_quantizers)
        n_frames = self.geometry.frames(audio.shape[1])
        codes = _on_host(len(audio), n, n_frames, dtype=torch.int64)
        networks, lengths = self._networks(), _lengths(lengths, audio)
        for group in self._groups(len(audio), n_frames):
            made = networks.encode(self._sent(audio[group].float()), self._sent(lengths[group]), n)
            codes[group].copy_(made[: len(audio[group]), :, :n_frames], non_blocking=True)
        self._wait()
        return codes

    @torch.inference_mode()
    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        config = self.model.config
        codes = check_codes(codes, config.n_codebooks, config.codebook_size)
        n_samples = self.geometry.samples(codes.shape[2])
        audio = _on_host(len(codes), n_samples)
        networks, lengths = self._networks(), _lengths(lengths, codes)
        for group in self._groups(len(codes), codes.shape[2]):
            made = networks.decode(self._sent(codes[group]), self._sent(lengths[group]))
            audio[group].copy_(made[: len(codes[group]), :n_samples], non_blocking=True)
        self._wait()
        return audio

    def push_audio(
        self, audio: Tensor, state: State = None, n_quantizers: int | None = None, end: bool = False
    ) -> Pushed:
        n = self.model.quantizer.check_count(n_quantizers)
        window = self._audio_windows.push(audio.float().cpu(), state, end)
        if window.first == window.last:
            return Pushed(torch.zeros(len(audio), n, 0, dtype=torch.int64), window.state)
        codes = self.encode(window.inputs, None, n)
        return Pushed(codes[..., window.first : window.last].clone(), window.state)

    def push_codes(self, codes: Tensor, state: State = None, end: bool = False) -> Pushed:
        config = self.model.config
        codes = check_codes(codes.cpu(), config.n_codebooks, config.codebook_size)
        window = self._code_windows.push(codes, state, end)
        if window.first == window.last:
            return Pushed(torch.zeros(len(codes), 0), window.state)
        audio = self.decode(window.inputs)
        return Pushed(audio[:, window.first : window.last].clone(), window.state)

    def _groups(self, n_rows: int, n_frames: int) -> Iterator[slice]:
        """Rows that are computed at once."""
        most = MOST_SECONDS * self.geometry.config.frames_per_second
        size = max(1, int(most / max(1, n_frames)))
        return (slice(first, first + size) for first in range(0, n_rows, size))

    def _sent(self, x: Tensor) -> Tensor:
        """A copy on the model's device, made without waiting for computations there."""
        device = self.model.device
        if device.type == "cuda" and x.device.type == "cpu":
            x = x.pin_memory()
        return x.to(device, non_blocking=True)

    def _wait(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.current_stream(self.model.device).synchronize()

    def _networks(self) -> _Networks:
        version = version_of(self.model)
        if self._made is None or self._made[0] != version:
            with _packing:
                if self._made is None or self._made[0] != version:
                    self._made = version, _Networks.of(self.model, self.precision, self._device)
        return self._made[1]


class _Networks(NamedTuple):
    """Both directions; short batches are replayed."""

    encode: Callable[..., Tensor]
    decode: Callable[..., Tensor]

    @classmethod
    def of(cls, model: DacModel, precision: str, device: Device) -> _Networks:
        encoder, decoder = _directions(model, precision)
        config = model.config
        most = MOST_RECORDED_SECONDS * config.frames_per_second
        return cls(
            _short_replayed(encoder, device, config.hop_length, most * config.hop_length),
            _short_replayed(decoder, device, 1, most),
        )


def _directions(model: DacModel, precision: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    if precision == "exact":
        return PlainEncoder(model), PlainDecoder(model)
    from dacodec.engine.cuda.networks import FusedDecoder, FusedEncoder  # they need Triton

    with torch.inference_mode():
        return FusedEncoder(model), FusedDecoder(model)


def _short_replayed(
    compute: Callable[..., Tensor], device: Device, unit: int, most_steps: float
) -> Callable[..., Tensor]:
    replayed = Replayed(compute, device, unit)

    def run(rows: Tensor, lengths: Tensor, *settings: int) -> Tensor:
        short = len(rows) * rows.shape[-1] <= most_steps
        return replayed(rows, lengths, *settings) if short else compute(rows, lengths, *settings)

    return run


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _lengths(lengths: Tensor | None, batch: Tensor) -> Tensor:
    return torch.full((len(batch),), batch.shape[-1]) if lengths is None else lengths.long()


def _on_host(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros in pinned memory, so that a GPU can copy to them asynchronously."""
    return torch.zeros(shape, dtype=dtype, pin_memory=torch.cuda.is_available())
