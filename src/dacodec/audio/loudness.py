"""Loudness as defined by ITU-R BS.1770."""

from __future__ import annotations

import math
from array import array
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.audio.arrays import Samples, as_float, check_sampling_rate
from dacodec.errors import AudioError

_BLOCK = 1 << 16  # samples per channel weighted at once
_SEGMENTS_PER_SECOND = 10
_SEGMENTS_PER_BLOCK = 4  # gating blocks of 400 ms that overlap by 75 %
_OFFSET_LUFS = -0.691  # compensates the weighting's gain at 997 Hz
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE = 0.1  # -10 LU
_MIN_LOUDNESS_RATE = 100  # Hz; below, the weighting lets nothing through
_SURROUND = 1.41
# Front channels count once, surround channels 1.41 times, the low-frequency channel not at all, in the usual
# order of 5.0 and 5.1 files. Other numbers of channels do not say which is which.
_CHANNEL_WEIGHTS = {5: (1, 1, 1, _SURROUND, _SURROUND), 6: (1, 1, 1, 0, _SURROUND, _SURROUND)}


def loudness_lufs(samples: Any, sampling_rate: int) -> float:
    """Integrated loudness of all channels together, gated, in LUFS; -inf if all is below -70.

    Audio shorter than a gating block (400 ms) counts as one block.

    Args:
        samples: anything :func:`as_float` takes. Five and six channels are taken as 5.0 and 5.1.
        sampling_rate: Hz, at least 100.

    Raises:
        AudioError: as :func:`as_float`, and for a lower rate.

    Source: ITU-R BS.1770-4.
    """
    samples = as_float(samples)
    meter = LoudnessMeter(len(samples), sampling_rate)
    meter.push(samples)
    return meter.integrated_lufs()


def loudness_gain(samples: Any, sampling_rate: int, target_lufs: float) -> float:
    """The gain for all channels that brings them to ``target_lufs``; 1.0 for silence.

    It does not prevent clipping. Arguments and errors as for :func:`loudness_lufs`.
    """
    loudness = loudness_lufs(samples, sampling_rate)
    return 1.0 if math.isinf(loudness) else 10 ** ((target_lufs - loudness) / 20)


class LoudnessMeter:
    """:func:`loudness_lufs` of audio in blocks; keeps ten numbers per second."""

    def __init__(self, channels: int, sampling_rate: int) -> None:
        self.sampling_rate = check_sampling_rate(sampling_rate)
        if self.sampling_rate < _MIN_LOUDNESS_RATE:
            raise AudioError(f"loudness needs at least {_MIN_LOUDNESS_RATE} Hz, got {self.sampling_rate}")
        self.channels = channels
        self._weights = np.array(_CHANNEL_WEIGHTS.get(channels, (1,) * channels), np.float64)
        self._filter_state = np.zeros((channels, 4))
        self._n_samples = 0
        self._energies = array("d")  # of the finished segments of 100 ms, all channels together
        self._open_energy = 0.0  # of the current segment

    def push(self, samples: Any) -> None:
        """Add the next samples [C, n], anything :func:`as_float` takes.

        Raises:
            AudioError: as :func:`as_float`, and for a different number of channels.
        """
        samples = as_float(samples)
        if len(samples) != self.channels:
            raise AudioError(f"got {len(samples)} channels, this meter has {self.channels}")
        for start in range(0, samples.shape[1], _BLOCK):
            self._push(samples[:, start : start + _BLOCK])

    def _push(self, samples: Samples) -> None:
        weighting = _k_weighting(self.sampling_rate)
        weighted, self._filter_state = weighting.apply(samples.astype(np.float64), self._filter_state)
        power = self._weights @ np.square(weighted)  # [n]
        begin, end = self._n_samples, self._n_samples + power.size
        n_finished = ((end + 1) * _SEGMENTS_PER_SECOND - 1) // self.sampling_rate  # last with _edge <= end
        edges = self._edge(np.arange(len(self._energies), n_finished) + 1)
        *finished, rest = np.split(power, edges - begin)
        for part in finished:
            self._energies.append(self._open_energy + float(part.sum()))
            self._open_energy = 0.0
        self._open_energy += float(rest.sum())
        self._n_samples = end

    def _edge(self, segment: Any) -> Any:
        """First sample of a segment; the segments of rates that ten does not divide differ by a sample."""
        return segment * self.sampling_rate // _SEGMENTS_PER_SECOND

    def integrated_lufs(self) -> float:
        """Loudness of everything so far, in LUFS; -inf if nothing is above -70."""
        energies = np.array(self._energies)
        n_blocks = len(energies) - _SEGMENTS_PER_BLOCK + 1
        if n_blocks < 1:
            power = np.array([energies.sum() + self._open_energy]) / max(self._n_samples, 1)
        else:
            block = np.arange(n_blocks)
            lengths = self._edge(block + _SEGMENTS_PER_BLOCK) - self._edge(block)
            power = np.convolve(energies, np.ones(_SEGMENTS_PER_BLOCK), "valid") / lengths
        power = power[power > 10 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET_LUFS) / 10)]
        if not power.size:
            return -math.inf
        power = power[power > _RELATIVE_GATE * power.mean()]
        return _OFFSET_LUFS + 10 * math.log10(power.mean())


class _BlockFilter:
    """A recursive filter that processes whole blocks of samples, so that NumPy can run it.

    The filter is s' = A s + B x, y = C s + D x, with the state s before each sample. Over a block of L
    samples both are linear in the state at its start and in its samples, with matrices made of powers of A:

        y[k] = C A^k s + sum over j <= k of h[k - j] x[j],    h = D, C B, C A B, C A A B, ...
        s[L] = A^L s + sum over j of A^(L - 1 - j) B x[j]
    """

    LENGTH = 64

    def __init__(self, a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: float) -> None:
        powers = [np.eye(len(a))]
        for _ in range(self.LENGTH):
            powers.append(a @ powers[-1])
        self.powers = powers
        self.outputs_of_state = np.array([c @ power for power in powers[:-1]])  # [L, S]
        self.state_of_samples = np.array([power @ b for power in powers[-2::-1]]).T  # [S, L]
        response = np.concatenate([[d], self.outputs_of_state[:-1] @ b])
        lag = np.subtract.outer(np.arange(self.LENGTH), np.arange(self.LENGTH))
        self.outputs_of_samples = np.where(lag >= 0, response[lag], 0.0)  # [L, L]

    def apply(self, x: NDArray[Any], state: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """``x`` [C, n], n at least 1, filtered from ``state`` [C, S]; and the state after it."""
        channels, n = x.shape
        n_blocks = -(-n // self.LENGTH)
        blocks = np.pad(x, ((0, 0), (0, n_blocks * self.LENGTH - n))).reshape(channels, n_blocks, self.LENGTH)
        # The state at the start of each block is A^L times the one before, plus what the samples add: a
        # running sum with decay, which doubles its reach at every step.
        states = np.concatenate([state[:, None], blocks[:, :-1] @ self.state_of_samples.T], axis=1)
        decay, reach = self.powers[-1], 1
        while reach < n_blocks:
            states[:, reach:] += states[:, :-reach] @ decay.T
            decay, reach = decay @ decay, 2 * reach
        y = blocks @ self.outputs_of_samples.T + states @ self.outputs_of_state.T
        rest = x[:, (n_blocks - 1) * self.LENGTH :]  # the last block without padding
        n_rest = rest.shape[1]
        after = states[:, -1] @ self.powers[n_rest].T + rest @ self.state_of_samples[:, -n_rest:].T
        return y.reshape(channels, -1)[:, :n], after


@lru_cache(maxsize=16)
def _k_weighting(sampling_rate: int) -> _BlockFilter:
    """The two filters of BS.1770-4 in series, at any rate.

    The standard tabulates them for 48 kHz and asks for the same response at other rates. The table is the
    bilinear transform of two second-order sections, whose frequencies, gain and Q were found by B. De Man
    (Evaluation of Implementations of the EBU R128 Loudness Measurement, AES 145, 2018); here they are
    transformed for ``sampling_rate``.
    """
    shelf_hz, shelf_q, gain = 1681.9744509555319, 0.7071752369554193, 10 ** (3.99984385397 / 20)
    middle = gain**0.499666774155
    if 2 * shelf_hz < sampling_rate:
        k = _warp(shelf_hz, sampling_rate)
        shelf = _section((gain, middle * k / shelf_q, k * k), (1, k / shelf_q, k * k))
    else:
        shelf = _section((1, 0, 0), (1, 0, 0))  # it lies above all frequencies present: no change

    pass_hz, pass_q = 38.13547087613982, 0.5003270373253953
    # The table does not divide this section's numerator by a0, which is a gain of 0.04 dB.
    k = _warp(pass_hz, 48000)
    gain = 1 + k / pass_q + k * k
    k = _warp(pass_hz, sampling_rate)
    high_pass = _section((gain, 0, 0), (1, k / pass_q, k * k))

    (a1, b1, c1, d1), (a2, b2, c2, d2) = shelf, high_pass
    a = np.block([[a1, np.zeros((2, 2))], [np.outer(b2, c1), a2]])
    return _BlockFilter(a, np.concatenate([b1, b2 * d1]), np.concatenate([d2 * c1, c2]), d1 * d2)


def _warp(hz: float, sampling_rate: int) -> float:
    """An analogue filter's frequency, prewarped for the bilinear transform."""
    return math.tan(math.pi * hz / sampling_rate)


def _section(
    numerator: tuple[float, float, float], denominator: tuple[float, float, float]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]:
    """State space of a second-order section, given by its coefficients of s^2, s and 1.

    The bilinear transform substitutes (1 - z^-1) / (1 + z^-1) for s. The state is that of the transposed
    direct form II.
    """
    (b0, b1, b2), (a0, a1, a2) = ((p + q + r, 2 * (r - p), p - q + r) for p, q, r in (numerator, denominator))
    b0, b1, b2, a1, a2 = b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0
    a = np.array([[-a1, 1], [-a2, 0]])
    return a, np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([1.0, 0.0]), b0
