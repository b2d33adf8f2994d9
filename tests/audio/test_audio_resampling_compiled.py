"""The resampler in C++: the same bytes however it is run, within float32's rounding of the exact sums."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest

from dacodec.audio import compiled
from dacodec.audio.resampling import Resampler, _taps, resample, resampled_length

pytestmark = pytest.mark.skipif(not compiled.is_built(), reason="installed without a C++ compiler")

RATES = [
    (22050, 44100),  # 2 phases
    (48000, 44100),  # 147
    (44100, 48000),
    (44100, 16000),
    (96000, 44100),
    (48000, 16000),  # 1
    (8000, 44100),
    (22050, 44101),  # more phases than a table holds
    (47999, 44100),
    (96001, 44100),
]


def noise(channels, n, seed=0):
    return np.random.default_rng(seed).standard_normal((channels, n)).astype(np.float32)


def in_pieces(resampler, signal, sizes):
    """Pushed in pieces of ``sizes``, cycled; the state is pickled in between."""
    state, outputs, position, sizes = resampler.start(len(signal)), [], 0, cycle(sizes)
    while position < signal.shape[1]:
        piece = signal[:, position : position + next(sizes)]
        position += piece.shape[1]
        output, state = resampler.push(piece, pickle.loads(pickle.dumps(state)))
        outputs.append(output)
    return np.concatenate([*outputs, resampler.flush(state)], axis=1)


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
@pytest.mark.parametrize("sizes", [(1,), (441,), (0, 3, 1000, 17, 2), (2900,)], ids=str)
def test_the_same_bytes_for_every_push_size(from_rate, to_rate, sizes):
    signal = noise(2, 3000)
    whole = resample(signal, from_rate, to_rate)
    assert whole.shape == (2, resampled_length(3000, from_rate, to_rate))
    made = in_pieces(Resampler(from_rate, to_rate), signal, sizes)
    assert made.tobytes() == whole.tobytes()


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES[:7], (47952, 44100)])
def test_the_same_bytes_from_the_middle_on_and_of_a_channel_alone(from_rate, to_rate):
    resampler, signal = Resampler(from_rate, to_rate), noise(3, 12000)
    whole = resample(signal, from_rate, to_rate)
    for n in (2450, 2451, 3705):
        first = resampler.first_input(n)
        output, state = resampler.push(signal[1:2, first:], resampler.start_at(1, n))
        output = np.concatenate([output, resampler.flush(state)], axis=1)
        assert output.tobytes() == whole[1:2, n:].tobytes()


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_the_same_bytes_under_every_instruction_set(from_rate, to_rate):
    signal, best = noise(1, 5000), compiled.best_target()
    taps, n = _taps(Resampler(from_rate, to_rate)), resampled_length(5000, from_rate, to_rate)
    made = {
        compiled.resample(taps, signal, 0, 0, n, compiled.load_library(target)).tobytes()
        for target in compiled.TARGETS[compiled.TARGETS.index(best) :]
    }
    assert len(made) == 1


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_within_rounding_of_the_exact_sums(from_rate, to_rate):
    """The bound is that of compiled.py, for each output on its own."""
    resampler, signal = Resampler(from_rate, to_rate), noise(1, 4000)
    made = resample(signal, from_rate, to_rate)[0].astype(np.float64)
    (down, up), reach = resampler.ratio, resampler.reach
    outputs = np.arange(len(made))
    taps = resampler.kernel(outputs * down % up / up)
    padded = np.pad(signal[0].astype(np.float64), reach + 1)
    inputs = padded[(outputs * down // up)[:, None] + np.arange(1, 2 * reach + 2)]
    steps = np.abs(np.arange(-reach, reach + 1)) + 4 + -(-15 * down // up)
    bound = (np.abs(taps * inputs) * steps).sum(1) * 2.0**-24
    if isinstance(_taps(resampler), compiled.Curves):
        bound += 1e-10 * np.abs(inputs).sum(1)
    error = np.abs(made - (taps * inputs).sum(1))
    assert (error <= bound).all(), (error / bound).max()
    assert np.sqrt((error**2).mean()) < 2.0**-23  # and usually far less: the signal's own rms is 1


def test_interpolated_taps_are_those_of_the_filter(monkeypatch):
    """To float32 precision, for one input after the other."""
    resampler = Resampler(22050, 44101)
    impulse = np.zeros((1, 400), np.float32)
    impulse[0, 200] = 1
    made = resample(impulse, 22050, 44101)
    monkeypatch.setattr(compiled, "is_built", lambda: False)
    exact = resample(impulse, 22050, 44101)
    assert np.abs(made - exact).max() <= 1e-10 + 2.0**-24
    assert isinstance(_taps(resampler), compiled.Curves)


def test_states_pass_between_the_implementations(monkeypatch):
    resampler, signal = Resampler(44100, 48000), noise(2, 6000)
    whole = resample(signal, 44100, 48000)
    state, outputs = None, []
    for i, piece in enumerate(np.array_split(signal, 7, axis=1)):
        monkeypatch.setattr(compiled, "is_built", lambda even=i % 2 == 0: even)
        output, state = resampler.push(piece, state)
        outputs.append(output)
    made = np.concatenate([*outputs, resampler.flush(state)], axis=1)
    np.testing.assert_allclose(made, whole, atol=2e-6)


def test_what_is_too_much_to_hold_is_left_to_numpy():
    """Ratios that no recording has, but a damaged header may."""
    assert _taps(Resampler(768000, 1)) is None
    assert _taps(Resampler(768000, 9)) is None
    assert _taps(Resampler(767999, 48000)) is not None


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48000, 44100), (22050, 44101)])
def test_many_threads_at_once(from_rate, to_rate):
    signals = [noise(1 + i % 3, 4000 + i, i) for i in range(8)]
    alone = [resample(signal, from_rate, to_rate) for signal in signals]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda signal: resample(signal, from_rate, to_rate), signals * 5))
    for made, expected in zip(together, alone * 5, strict=True):
        assert made.tobytes() == expected.tobytes()


def test_any_array_of_samples():
    """A view that is not contiguous, float64, no samples at all."""
    resampler, signal = Resampler(48000, 44100), noise(2, 4000)
    expected, _ = resampler.push(signal)
    assert np.array_equal(resampler.push(np.asfortranarray(signal))[0], expected)
    assert np.array_equal(resampler.push(signal.astype(np.float64))[0], expected)
    assert resampler.push(signal[:, :0])[0].shape == (2, 0)
