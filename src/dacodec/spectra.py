"""Short-time spectra and mel spectra, shared by losses, metrics and pictures.

The definitions are those with which DAC was trained and published (its audiotools): periodic Hann window,
centred frames with reflected edges, magnitudes; mel filters on Slaney's scale with Slaney's area
normalisation.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# DAC's multi-scale mel loss: (window length in samples, number of mel bands).
MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
MEL_FLOOR = 1e-5
# DAC's STFT distance: window lengths in samples.
STFT_WINDOWS = (2048, 512)


def magnitudes(audio: Tensor, window_length: int, hop_length: int | None = None) -> Tensor:
    """Magnitude spectrum [..., window_length // 2 + 1, frames] of ``audio`` [..., T]; the hop is a quarter window."""
    hop_length = hop_length or window_length // 4
    flat = audio.reshape(-1, audio.shape[-1])
    padding = window_length // 2
    # Reflection needs more samples than it adds; a shorter signal is reflected as far as it reaches.
    reflected = min(padding, flat.shape[-1] - 1)
    flat = F.pad(flat[:, None], (reflected, reflected), mode="reflect")[:, 0]
    flat = F.pad(flat, (padding - reflected, padding - reflected))
    spectrum = complex_spectrum(flat, window_length, hop_length)
    return spectrum.abs().reshape(*audio.shape[:-1], *spectrum.shape[-2:])


def complex_spectrum(audio: Tensor, window_length: int, hop_length: int) -> Tensor:
    """Spectra [N, window_length // 2 + 1, frames] of the windows that lie wholly within ``audio`` [N, T]."""
    window = hann_window(window_length, audio.dtype, audio.device)
    return torch.stft(audio, window_length, hop_length, window=window, center=False, return_complex=True)


def mel_spectrum(audio: Tensor, sampling_rate: int, window_length: int, n_mels: int) -> Tensor:
    """Mel magnitudes [..., n_mels, frames] of ``audio`` [..., T] at ``sampling_rate`` Hz."""
    filters = _mel_filters_on(sampling_rate, window_length, n_mels, audio.dtype, audio.device)
    return filters @ magnitudes(audio, window_length)


def mel_distance(audio: Tensor, reference: Tensor, sampling_rate: int) -> Tensor:
    """DAC's mel distance between ``audio`` and ``reference``, both [..., T]: a scalar.

    The sum over seven scales of the mean absolute difference of log10 mel magnitudes, clamped at 1e-5. This
    is the mel loss of training (before its weight of 15) and the "mel" of the paper's tables.
    """
    total = audio.new_zeros(())
    for window_length, n_mels in MEL_SCALES:
        with torch.no_grad():
            wanted = _log(mel_spectrum(reference, sampling_rate, window_length, n_mels))
        given = _log(mel_spectrum(audio, sampling_rate, window_length, n_mels))
        total = total + F.l1_loss(given, wanted)
    return total


def stft_distance(audio: Tensor, reference: Tensor) -> Tensor:
    """DAC's STFT distance between ``audio`` and ``reference``, both [..., T]: a scalar.

    The sum over two window lengths of the mean absolute difference of magnitudes, and that of the log10 of their
    squares, clamped at 1e-5 before squaring: the "STFT" of the paper's tables.
    """
    total = audio.new_zeros(())
    for window_length in STFT_WINDOWS:
        given, wanted = magnitudes(audio, window_length), magnitudes(reference, window_length)
        total = total + F.l1_loss(given, wanted) + 2 * F.l1_loss(_log(given), _log(wanted))
    return total


def _log(mels: Tensor) -> Tensor:
    return mels.clamp(MEL_FLOOR).log10()


def mel_filters(sampling_rate: int, window_length: int, n_mels: int) -> Tensor:
    """Triangular filters [n_mels, window_length // 2 + 1] from 0 Hz to half the rate, each of area 1."""
    bins = torch.linspace(0, sampling_rate / 2, window_length // 2 + 1, dtype=torch.float64)
    top = _hz_to_mel(sampling_rate / 2)
    edges = torch.tensor([_mel_to_hz(top * i / (n_mels + 1)) for i in range(n_mels + 2)], dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


@lru_cache(maxsize=64)
def _mel_filters_on(
    sampling_rate: int, window_length: int, n_mels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """:func:`mel_filters`, cached on the device: copying them again would stall every training step."""
    with torch.inference_mode(
        False
    ):  # the cached tensor must work in training too, even if inference creates it
        return mel_filters(sampling_rate, window_length, n_mels).to(device, dtype)


@lru_cache(maxsize=64)
def hann_window(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A periodic Hann window, cached on the device."""
    with torch.inference_mode(False):
        return torch.hann_window(length, dtype=dtype, device=device)


# Slaney's mel scale: linear below 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_MEL = 1000 / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < 1000 else _BREAK_MEL + math.log(hz / 1000) / _LOG_STEP


def _mel_to_hz(mel: float) -> float:
    return mel * _LINEAR_HZ_PER_MEL if mel < _BREAK_MEL else 1000 * math.exp((mel - _BREAK_MEL) * _LOG_STEP)
