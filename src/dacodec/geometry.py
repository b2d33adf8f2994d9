"""What a DAC model does to lengths and to time, computed from its config alone.

The encoder and the decoder are chains of one-dimensional layers. Output ``i`` of a layer reads the
inputs ``i * stride - left .. i * stride + right`` (a transposed convolution the same, with the inverse
stride). Everything here follows from walking such a chain; nothing is fitted or typed in. Masks, chunks,
seeking, streaming and kernels all ask this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeVar

from dacodec.config import DacConfig

Length = TypeVar("Length", int, Any)  # an int, or an integer tensor with one length per batch item

RESIDUAL_DILATIONS = (1, 3, 9)
RESIDUAL_KERNEL = 7


@dataclass(frozen=True)
class Layer:
    """One convolution, plain or transposed, reduced to its effect on time."""

    name: str
    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    transposed: bool = False

    def output_length(self, length: Length) -> Length:
        """Number of outputs for ``length`` inputs; below 1 if those are too few for one output."""
        span = self.dilation * (self.kernel - 1)
        if self.transposed:
            return (length - 1) * self.stride - 2 * self.padding + span + 1
        return (length + 2 * self.padding - span - 1) // self.stride + 1

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input that the outputs ``first..last`` read (they may lie outside the signal)."""
        span = self.dilation * (self.kernel - 1)
        if self.transposed:
            return (
                math.ceil((first + self.padding - span) / self.stride),
                (last + self.padding) // self.stride,
            )
        return first * self.stride - self.padding, last * self.stride - self.padding + span


@dataclass(frozen=True)
class Chain:
    """Layers in sequence."""

    layers: tuple[Layer, ...]

    def output_length(self, length: Length) -> Length:
        return reduce(lambda n, layer: layer.output_length(n), self.layers, length)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input of the chain that its outputs ``first..last`` read."""
        for layer in reversed(self.layers):
            first, last = layer.inputs_of(first, last)
        return first, last


@dataclass(frozen=True)
class Geometry:
    """Lengths, receptive fields, look-ahead and halo of the model that ``config`` describes."""

    config: DacConfig

    @cached_property
    def encoder(self) -> Chain:
        """Audio samples to latent frames."""
        layers = [Layer("conv1", kernel=7, padding=3)]
        for i, stride in enumerate(self.config.downsampling_ratios):
            layers += _residual_units(f"block.{i}")
            layers.append(downsampling_layer(stride, f"block.{i}.conv1"))
        return Chain((*layers, Layer("conv2", kernel=3, padding=1)))

    @cached_property
    def decoder(self) -> Chain:
        """Latent frames to audio samples."""
        layers = [Layer("conv1", kernel=7, padding=3)]
        for i, stride in enumerate(self.config.upsampling_ratios):
            layers.append(upsampling_layer(stride, f"block.{i}.conv_t1"))
            layers += _residual_units(f"block.{i}")
        return Chain((*layers, Layer("conv2", kernel=7, padding=3)))

    # Lengths

    def frames(self, n_samples: int) -> int:
        """Number of frames the encoder makes of ``n_samples`` samples."""
        return max(0, self.encoder.output_length(n_samples))

    def samples(self, n_frames: int) -> int:
        """Number of samples the decoder makes of ``n_frames`` frames.

        With an odd stride this is less than ``n_frames * hop_length``: the transposed convolution of
        the released models loses a sample there.
        """
        return max(0, self.decoder.output_length(n_frames))

    def frames_needed(self, n_samples: int) -> int:
        """Fewest frames that decode to at least ``n_samples`` samples."""
        hop = self.config.hop_length
        n_frames = math.ceil(n_samples / hop)
        while self.samples(n_frames) < n_samples:
            n_frames += 1
        return n_frames

    def samples_needed(self, n_frames: int) -> int:
        """Fewest samples, a multiple of the hop, that encode to at least ``n_frames`` frames."""
        hop = self.config.hop_length
        n_samples = n_frames * hop
        while self.frames(n_samples) < n_frames:
            n_samples += hop
        return n_samples

    # Receptive fields

    @cached_property
    def encoder_span(self) -> tuple[int, int]:
        """First and last sample that frame 0 reads, counted from the frame's first sample."""
        return self.encoder.inputs_of(0, 0)

    @cached_property
    def decoder_span(self) -> tuple[int, int]:
        """First and last frame that the samples ``0..hop_length - 1`` read, counted from frame 0."""
        first, last = zip(*(self.decoder.inputs_of(i, i) for i in range(self.config.hop_length)), strict=True)
        return min(first), max(last)

    @property
    def encoder_receptive_field(self) -> int:
        """Samples that one frame depends on."""
        first, last = self.encoder_span
        return last - first + 1

    @property
    def decoder_receptive_field(self) -> int:
        """Frames that one hop of samples depends on."""
        first, last = self.decoder_span
        return last - first + 1

    @property
    def encoder_lookahead(self) -> int:
        """Samples beyond a frame's own hop that must be known before the frame can be computed."""
        return max(0, self.encoder_span[1] - (self.config.hop_length - 1))

    @property
    def decoder_lookahead(self) -> int:
        """Frames beyond a hop's own frame that must be known before the hop can be computed."""
        return max(0, self.decoder_span[1])

    @property
    def encoder_halo(self) -> int:
        """Frames of context on each side that make a chunk's encoding equal to the whole signal's."""
        first, last = self.encoder_span
        hop = self.config.hop_length
        return max(math.ceil(-first / hop), math.ceil((last - hop + 1) / hop), 0)

    @property
    def decoder_halo(self) -> int:
        """Frames of context on each side that make a chunk's decoding equal to the whole signal's."""
        first, last = self.decoder_span
        return max(-first, last, 0)


def downsampling_layer(stride: int, name: str = "") -> Layer:
    """The strided convolution that ends an encoder block."""
    return Layer(name, 2 * stride, stride, padding=math.ceil(stride / 2))


def upsampling_layer(stride: int, name: str = "") -> Layer:
    """The transposed convolution that begins a decoder block; it loses a sample if ``stride`` is odd."""
    return Layer(name, 2 * stride, stride, padding=math.ceil(stride / 2), transposed=True)


def _residual_units(block: str) -> list[Layer]:
    return [
        layer
        for i, dilation in enumerate(RESIDUAL_DILATIONS, start=1)
        for layer in (
            Layer(
                f"{block}.res_unit{i}.conv1",
                RESIDUAL_KERNEL,
                dilation=dilation,
                padding=(RESIDUAL_KERNEL - 1) * dilation // 2,
            ),
            Layer(f"{block}.res_unit{i}.conv2", kernel=1),
        )
    ]
