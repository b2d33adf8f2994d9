"""The resampler: the right samples, and the same ones however the signal is cut."""

import numpy as np
import pytest

from dacodec.audio import compiled
from dacodec.audio.resampling import (
    PASSBAND,
    Resampler,
    resample,
    resample_blocks,
    resampled_length,
)

RATES = [
    (48000, 44100),
    (44100, 48000),
    (16000, 44100),
    (44100, 16000),
    (96000, 44100),
    (8000, 24000),
    (22050, 44101),
]


needs_compiled = pytest.mark.skipif(not compiled.is_built(), reason="installed without a C++ compiler")


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_compiled)], autouse=True)
def implementation(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(compiled, "is_built", lambda: False)


def sine(hz, n, rate):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate + 0.3)).astype(np.float32)[None]


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_a_sine_stays_a_sine(from_rate, to_rate):
    """Up to the edge of the passband, to 100 dB, and in time with the input."""
    lower = min(from_rate, to_rate) / 2
    for hz in (0.0, 0.01 * lower, 0.5 * lower, PASSBAND * lower):
        n = from_rate // 4
        output = resample(sine(hz, n, from_rate), from_rate, to_rate)
        assert output.shape == (1, resampled_length(n, from_rate, to_rate))
        error = np.abs(output - sine(hz, output.shape[1], to_rate))[0]
        edge = 2 * Resampler(from_rate, to_rate).reach * max(1, to_rate // from_rate + 1)
        assert error[edge:-edge].max() < 0.5e-5


def test_what_the_lower_rate_cannot_hold_is_gone():
    output = resample(sine(8200, 48000, 48000), 48000, 16000)
    assert np.abs(output[0, 1000:-1000]).max() < 0.5e-5


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES, (44100, 44100)])
def test_in_pieces_as_in_one(from_rate, to_rate):
    rng = np.random.default_rng(from_rate + to_rate)
    signal = rng.standard_normal((2, from_rate // 3)).astype(np.float32)
    whole = resample(signal, from_rate, to_rate)
    cuts = np.sort(rng.integers(0, signal.shape[1], 40))
    cuts[:4] = (0, 1, 2, 2)
    pieces = np.split(signal, np.sort(cuts), axis=1)
    in_pieces = np.concatenate(list(resample_blocks(pieces, from_rate, to_rate)), axis=1)
    assert in_pieces.shape == whole.shape
    # Computed in float64, so cuts affect only its last digits.
    np.testing.assert_allclose(in_pieces, whole, rtol=1e-7, atol=1e-13)


def test_outputs_come_as_soon_as_their_input_is_there():
    resampler = Resampler(48000, 44100)
    n = 5000
    output, state = resampler.push(np.zeros((1, n), np.float32))
    assert output.shape[1] == resampled_length(n - resampler.reach, 48000, 44100)
    # With one sample too few for the next output there is none.
    more, _ = resampler.push(np.zeros((1, 0), np.float32), state)
    assert more.shape[1] == 0


def test_state_is_a_value():
    resampler = Resampler(16000, 44100)
    signal = sine(440, 3000, 16000)
    _, state = resampler.push(signal[:, :1000])
    once, _ = resampler.push(signal[:, 1000:], state)
    twice, _ = resampler.push(signal[:, 1000:], state)
    assert np.array_equal(once, twice)


def test_memory_of_a_long_signal_is_bounded():
    resampler = Resampler(44100, 48000)
    state = None
    for _ in range(50):
        _, state = resampler.push(np.zeros((1, 10000), np.float32), state)
        assert state.tail.shape[1] < 2 * resampler.reach + 10000


@pytest.mark.parametrize("n", [1, 2, 7])
def test_short_signals(n):
    for from_rate, to_rate in RATES:
        there = resample(np.ones((1, n), np.float32), from_rate, to_rate)
        back = resample(there, to_rate, from_rate)
        assert there.shape[1] == resampled_length(n, from_rate, to_rate)
        assert back.shape[1] >= n
