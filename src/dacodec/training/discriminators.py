"""DAC's discriminators: multi-period on the waveform, multi-band on complex spectra of several resolutions.

Shapes: B batch, T samples, C channels, p period.

A discriminator works in two steps, so that each signal is prepared only once: ``views(audio)`` cuts the waveform into
periods and computes the spectra, ``forward(views)`` judges them.

Source: arXiv 2306.06546, section 3.4; the periods from HiFi-GAN (arXiv 2010.05646), the complex spectra from
EnCodec (arXiv 2210.13438). Layers are numbered as in the original, so its weights fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dacodec.errors import ConfigError
from dacodec.spectra import complex_spectrum

SLOPE = 0.1  # of the leaky ReLUs
PEAK = 0.8  # to which audio is scaled before it is judged
PERIOD_CHANNELS = (32, 128, 512, 1024, 1024)
SPECTRUM_CHANNELS = 32


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The shape of a discriminator; the defaults are the published shape.

    Args:
        periods: in samples, one sub-discriminator each.
        fft_sizes: window lengths in samples, one sub-discriminator each; the hop is a quarter.
        band_edges: of the bands that a spectrum is split into, as fractions of the highest frequency.
        width: factor on all channel counts, rounded to multiples of 8; half the width is a quarter of the cost.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    fft_sizes: tuple[int, ...] = (2048, 1024, 512)
    band_edges: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    width: float = 1.0

    def __post_init__(self) -> None:
        # Stored as JSON, tuples come back as lists.
        for name in ("periods", "fft_sizes", "band_edges"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.periods and not self.fft_sizes:
            raise ConfigError("a discriminator needs periods or fft_sizes; leave discriminator out for none")
        if any(p < 1 for p in self.periods) or any(size < 64 or size % 4 for size in self.fft_sizes):
            raise ConfigError("periods must be at least 1, fft_sizes multiples of 4 and at least 64")
        edges = self.band_edges
        if len(edges) < 2 or list(edges) != sorted(edges) or edges[0] < 0 or edges[-1] > 1:
            raise ConfigError(f"band_edges must rise from 0 to 1, got {edges}")
        if not self.width > 0:
            raise ConfigError(f"width must be more than 0, got {self.width}")

    def channels(self, published: int) -> int:
        wanted = published * self.width
        return 8 * round(wanted / 8) if wanted >= 8 else max(1, round(wanted))


class Discriminator(nn.Module):
    """Several sub-discriminators, each judging another aspect of the same audio."""

    discriminators: Sequence[PeriodDiscriminator | SpectrumDiscriminator]

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        parts = [
            *(PeriodDiscriminator(period, config) for period in config.periods),
            *(SpectrumDiscriminator(size, config) for size in config.fft_sizes),
        ]
        self.discriminators = nn.ModuleList(parts)  # type: ignore[assignment]

    def views(self, audio: Tensor) -> list[Tensor]:
        """The input of each sub-discriminator, in float32, from ``audio`` [B, 1, T] without DC and scaled to one peak."""
        audio = audio.float() - audio.float().mean(-1, keepdim=True)
        audio = PEAK * audio / (audio.abs().amax(-1, keepdim=True) + 1e-9)
        return [part.view(audio) for part in self.discriminators]

    def forward(self, views: Sequence[Tensor]) -> list[list[Tensor]]:
        """For each sub-discriminator the outputs of all layers; the last is the verdict, 1 for real."""
        return [part(view) for part, view in zip(self.discriminators, views, strict=True)]


class PeriodDiscriminator(nn.Module):
    """Judges every p-th sample: convolutions run along time, never across the p columns."""

    def __init__(self, period: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(config.channels(c) for c in PERIOD_CHANNELS)]
        strides = [3] * (len(widths) - 2) + [1]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], (5, 1), (stride, 1), padding=(2, 0))
            for i, stride in enumerate(strides)
        )
        self.conv_post = nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))

    def view(self, audio: Tensor) -> Tensor:
        """``audio`` [B, 1, T] as [B, 1, periods, p]."""
        # As in the original, audio that is a whole number of periods gets one more.
        missing = self.period - audio.shape[-1] % self.period
        padded = F.pad(audio, (0, missing), mode="reflect")
        return padded.view(*padded.shape[:2], -1, self.period)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = _leaky_layers(self.convs, x)
        return [*outputs, self.conv_post(outputs[-1])]


class SpectrumDiscriminator(nn.Module):
    """Judges a complex spectrum, split into bands that have their own layers."""

    def __init__(self, window_length: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.window_length = window_length
        bins = window_length // 2 + 1
        edges = [int(edge * bins) for edge in config.band_edges]
        self.bands = list(pairwise(edges))
        width = config.channels(SPECTRUM_CHANNELS)
        self.band_convs: Sequence[nn.ModuleList] = nn.ModuleList(  # type: ignore[assignment]
            self._band(width) for _ in self.bands
        )
        self.conv_post = nn.Conv2d(width, 1, (3, 3), padding=(1, 1))

    @staticmethod
    def _band(width: int) -> nn.ModuleList:
        return nn.ModuleList(
            [
                nn.Conv2d(2, width, (3, 9), padding=(1, 4)),
                *(nn.Conv2d(width, width, (3, 9), (1, 2), padding=(1, 4)) for _ in range(3)),
                nn.Conv2d(width, width, (3, 3), padding=(1, 1)),
            ]
        )

    def view(self, audio: Tensor) -> Tensor:
        """The spectrum of ``audio`` [B, 1, T]: real and imaginary part [B, 2, frames, bins], one frame per hop."""
        hop = self.window_length // 4
        overlap = (self.window_length - hop) // 2
        padded = F.pad(audio, (overlap, overlap + -audio.shape[-1] % hop), mode="reflect")
        spectrum = complex_spectrum(padded[:, 0], self.window_length, hop)  # [B, bins, frames]
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs, bands = [], []
        for (low, high), convs in zip(self.bands, self.band_convs, strict=True):
            outputs += _leaky_layers(convs, x[..., low:high])
            bands.append(outputs[-1])
        return [*outputs, self.conv_post(torch.cat(bands, -1))]


def _leaky_layers(convs: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    outputs = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        outputs.append(x)
    return outputs
