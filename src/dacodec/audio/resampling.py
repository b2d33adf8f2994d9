"""Sampling rate conversion with the same result for a whole signal and for any pieces of it.

Output ``n`` is the input at the instant ``n * from_rate / to_rate``, interpolated by a sinc with a Kaiser
window:

    y[n] = sum over k of x[k] * h(n * from_rate / to_rate - k)

With from_rate / to_rate = M / L in lowest terms, the instants repeat relative to the input every L outputs and M
inputs. So L outputs are the product of a window of the input with a fixed matrix, and many of them one GEMM:
in float64, so that how a signal is cut shows in the 16th digit only. With a compiler, compiled.py does the
same sums in float32; this is its reference, and the fallback.

Source: J. O. Smith, "Digital Audio Resampling" (CCRMA); J. F. Kaiser's window and its design formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.audio import compiled
from dacodec.audio.arrays import Samples, as_float, check_sampling_rate

# Edges of the pass band and the stop band, relative to the lower of the two Nyquist frequencies.
PASSBAND, STOPBAND = 0.92, 1.0
ATTENUATION_DB = 110.0
_BETA = 0.1102 * (ATTENUATION_DB - 8.7)
# Ratios with more phases than this compute their coefficients sample by sample; no common pair of rates has.
_MOST_PHASES = 2048
_AT_ONCE = 1 << 14  # outputs; bounds the memory of one product


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """The number of samples that ``n_samples`` at ``from_rate`` become at ``to_rate``, rounded up.

    So the last sample is always covered, and a round trip is never shorter than the original.
    """
    return -(-n_samples * to_rate // from_rate)


@dataclass(frozen=True)
class ResamplerState:
    """The position in a signal: a plain value, which may be copied and stored."""

    tail: Samples  # [C, n], the input that later outputs still need
    origin: int  # index of the tail's first sample in the signal; before the signal there are zeros
    n_output: int = 0


@dataclass(frozen=True)
class Resampler:
    """Converts from one rate to another, both in Hz. Immutable: each signal has a state of its own."""

    from_rate: int
    to_rate: int

    @cached_property
    def ratio(self) -> tuple[int, int]:
        """(M, L): M inputs become L outputs."""
        common = math.gcd(self.from_rate, self.to_rate)
        return self.from_rate // common, self.to_rate // common

    @cached_property
    def reach(self) -> int:
        """Input samples that an output depends on, on each side of its instant; so also the look-ahead."""
        if self.from_rate == self.to_rate:
            return 0
        taps = (ATTENUATION_DB - 8) / (2.285 * math.pi * (STOPBAND - PASSBAND) * self._lower_nyquist)
        return math.ceil(taps / 2)

    @property
    def _lower_nyquist(self) -> float:
        """The lower of the two Nyquist frequencies, as a fraction of the input's."""
        return min(1.0, self.to_rate / self.from_rate)

    def start(self, n_channels: int) -> ResamplerState:
        return ResamplerState(np.zeros((n_channels, self.reach), np.float32), -self.reach)

    def first_input(self, n_output: int) -> int:
        """The first input sample needed to continue with output ``n_output``; may be below 0."""
        down, up = self.ratio
        return n_output // up * down - self.reach

    def start_at(self, n_channels: int, n_output: int) -> ResamplerState:
        """A state in mid-signal: the next output is ``n_output``, the next input :meth:`first_input`."""
        return ResamplerState(np.zeros((n_channels, 0), np.float32), self.first_input(n_output), n_output)

    def push(self, samples: Samples, state: ResamplerState | None = None) -> tuple[Samples, ResamplerState]:
        """The outputs that ``samples`` [C, T], T any number, complete, and the state after them."""
        state = state or self.start(len(samples))
        state = replace(state, tail=np.concatenate([state.tail, samples], axis=1))
        # Output n reads inputs up to floor(n * M / L) + reach.
        end = state.origin + state.tail.shape[1]
        ready = resampled_length(end - self.reach, self.from_rate, self.to_rate)
        return self._advance(state, max(ready, state.n_output))

    def flush(self, state: ResamplerState) -> Samples:
        """The remaining outputs at the end of the signal, which zeros follow.

        In all there are :func:`resampled_length` outputs.
        """
        n_input = state.origin + state.tail.shape[1]
        return self._advance(state, resampled_length(n_input, self.from_rate, self.to_rate))[0]

    def _advance(self, state: ResamplerState, until: int) -> tuple[Samples, ResamplerState]:
        """Outputs ``state.n_output`` to ``until``. Input beyond the tail counts as zero."""
        if self.from_rate == self.to_rate:
            end = state.origin + state.tail.shape[1]
            return state.tail, ResamplerState(state.tail[:, :0], end, end)
        if compiled.is_built() and (taps := _taps(self)):
            outputs = compiled.resample(taps, state.tail, state.origin, state.n_output, until)
        else:
            outputs = self._reference(state, until)
        keep_from = self.first_input(until)
        return outputs, ResamplerState(state.tail[:, keep_from - state.origin :], keep_from, until)

    def _reference(self, state: ResamplerState, until: int) -> Samples:
        compute = self._by_phases if self.ratio[1] <= _MOST_PHASES else self._one_by_one
        pieces = [compute(state, n, min(n + _AT_ONCE, until)) for n in range(state.n_output, until, _AT_ONCE)]
        return np.concatenate([np.zeros((len(state.tail), 0), np.float32), *pieces], axis=1)

    def _window(self, state: ResamplerState, first: int, length: int) -> NDArray[np.float64]:
        """Inputs ``first`` to ``first + length``, zeros beyond the tail."""
        begin = first - state.origin
        part = state.tail[:, begin : begin + length].astype(np.float64)
        return np.pad(part, ((0, 0), (0, length - part.shape[1])))

    def _by_phases(self, state: ResamplerState, start: int, stop: int) -> Samples:
        down, up = self.ratio
        first, last = start // up, -(-stop // up)  # blocks of L outputs
        size = down + 2 * self.reach
        window = self._window(state, first * down - self.reach, (last - first - 1) * down + size)
        blocks = np.lib.stride_tricks.sliding_window_view(window, size, axis=1)[
            :, ::down
        ]  # [C, blocks, size]
        outputs = np.asarray(blocks @ _phases(self)).reshape(len(window), -1)
        return outputs[:, start - first * up : stop - first * up].astype(np.float32)

    def _one_by_one(self, state: ResamplerState, start: int, stop: int) -> Samples:
        down, up = self.ratio
        n = np.arange(start, stop, dtype=np.int64)
        base, phase = n * down // up, (n * down % up) / up
        size = 2 * self.reach + 1
        first = int(base[0]) - self.reach
        window = self._window(state, first, int(base[-1] - base[0]) + size)
        inputs = np.lib.stride_tricks.sliding_window_view(window, size, axis=1)[:, base - base[0]]
        return np.asarray(np.einsum("cnk,nk->cn", inputs, self.kernel(phase)), np.float32)

    def kernel(self, phases: NDArray[np.float64]) -> NDArray[np.float64]:
        """Taps [n, 2 * reach + 1] of outputs at ``phases`` [n], 0 to 1, after an input, which gets the middle tap.

        Each row passes DC as it is.
        """
        offsets = phases[:, None] - np.arange(-self.reach, self.reach + 1)
        cutoff = self._lower_nyquist * (PASSBAND + STOPBAND) / 2
        inside = np.clip(1 - (offsets / (self.reach + 1)) ** 2, 0, None)
        taps = np.sinc(cutoff * offsets) * np.i0(_BETA * np.sqrt(inside))
        return np.asarray(taps / taps.sum(1, keepdims=True))


@lru_cache(maxsize=16)
def _phases(resampler: Resampler) -> NDArray[np.float64]:
    """Matrix [M + 2 * reach, L]: a block's window of inputs to its L outputs."""
    down, up = resampler.ratio
    reach = resampler.reach
    matrix = np.zeros((down + 2 * reach, up))
    outputs = np.arange(up)
    for n, taps in enumerate(resampler.kernel(outputs * down % up / up)):
        base = n * down // up
        matrix[base : base + 2 * reach + 1, n] = taps
    return matrix


@lru_cache(maxsize=16)
def _taps(resampler: Resampler) -> compiled.Taps | None:
    return compiled.taps_of(*resampler.ratio, resampler.reach, resampler.kernel)


def resample(samples: Any, from_rate: int, to_rate: int) -> Samples:
    """Audio at another sampling rate.

    Args:
        samples: anything :func:`~dacodec.audio.as_float` takes.
        from_rate, to_rate: Hz.

    Returns:
        [C, resampled_length(T, from_rate, to_rate)], aligned with the input: sample 0 of both is the same
        instant. The input counts as 0 before its first and after its last sample.

    Raises:
        AudioError: as :func:`~dacodec.audio.as_float` and :func:`~dacodec.audio.check_sampling_rate`.
    """
    samples = as_float(samples)
    resampler = Resampler(check_sampling_rate(from_rate), check_sampling_rate(to_rate))
    state = resampler.start(len(samples))
    return resampler.flush(replace(state, tail=np.concatenate([state.tail, samples], axis=1)))


def resample_blocks(
    blocks: Iterable[Samples], from_rate: int, to_rate: int, first_output: int = 0
) -> Iterator[Samples]:
    """:func:`resample` for a signal in blocks [C, T].

    With ``first_output``, only from that output on; the blocks then begin with :meth:`Resampler.first_input`.
    """
    resampler = Resampler(from_rate, to_rate)
    state = None
    for block in blocks:
        if state is None and first_output:
            state = resampler.start_at(len(block), first_output)
        output, state = resampler.push(block, state)
        yield output
    if state is not None:
        yield resampler.flush(state)
