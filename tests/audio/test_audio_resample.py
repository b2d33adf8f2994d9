"""Resampling: exact lengths, aligned in time, without aliases, channels independent."""

import itertools

import numpy as np
import pytest

from dacodec import audio
from dacodec.errors import AudioError

RATES = [8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000]
PAIRS = list(itertools.permutations(RATES, 2))


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_there_and_back_is_never_shorter(from_rate, to_rate):
    for n in [*range(1, 400), 44100, 10**9 + 7]:
        there = audio.resampled_length(n, from_rate, to_rate)
        assert there - 1 < n * to_rate / from_rate <= there
        assert n <= audio.resampled_length(there, to_rate, from_rate)


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_length_is_as_said(from_rate, to_rate):
    for n in (1, 2, 3, 100, 441, 1001):
        result = audio.resample(np.zeros((2, n)), from_rate, to_rate)
        assert result.shape == (2, audio.resampled_length(n, from_rate, to_rate))
        assert result.dtype == np.float32


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_sines_stay_in_time(from_rate, to_rate):
    """Against the sines themselves: a shift of a hundredth of a sample would show."""

    def sines(rate):
        seconds = np.arange(rate) / rate
        return sum(0.2 * np.sin(2 * np.pi * hz * seconds + hz) for hz in (97, 441, 1234.5, 3100))

    result = audio.resample(sines(from_rate), from_rate, to_rate)
    middle = slice(to_rate // 5, -to_rate // 5)
    np.testing.assert_allclose(result[0, middle], sines(to_rate)[middle], atol=1e-4)


def test_no_aliases():
    seconds = np.arange(48000) / 48000
    result = audio.resample(np.sin(2 * np.pi * 10000 * seconds), 48000, 16000)
    assert np.abs(result[0, 2000:-2000]).max() < 1e-5


def test_channels_are_independent():
    samples = np.random.default_rng(1).uniform(-1, 1, (3, 5000))
    together = audio.resample(samples, 44100, 16000)
    alone = [audio.resample(channel, 44100, 16000)[0] for channel in samples]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_same_rate_changes_nothing():
    samples = np.random.default_rng(2).uniform(-1, 1, (2, 100)).astype(np.float32)
    np.testing.assert_array_equal(audio.resample(samples, 44100, 44100), samples)


def test_refuses_rates():
    with pytest.raises(AudioError, match="got 0"):
        audio.resample(np.zeros(10), 0, 16000)
