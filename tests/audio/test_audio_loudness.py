"""Loudness against the standard's own tables and tones, another meter, and a slow one."""

import math
from pathlib import Path

import numpy as np
import pytest

from dacodec import audio
from dacodec.audio import loudness
from dacodec.errors import AudioError

CLIPS = Path(__file__).parents[1] / "data" / "clips"

# ITU-R BS.1770-4, tables 1 and 2: the weighting at 48 kHz, b0 b1 b2 a1 a2.
TABLE = [
    (1.53512485958697, -2.69169618940638, 1.19839281085285, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, -1.99004745483398, 0.99007225036621),
]

# Loudness of the clips, cut to whole tenths of a second, by pyloudnorm 0.2.0 with double precision. Its default
# filters ("K-weighting") are approximations with 0.04 dB less gain than the standard's; those it calls "DeMan"
# are the standard's, at 44.1 and 48 kHz.
PYLOUDNORM = {
    "env_vinyl_hiss_44k_st.flac": (-38.0243, -37.9882),
    "music_drum_roll_44k.flac": (-21.9532, -21.9072),
    "music_guitar_em9_44k_st.flac": (-16.025, -15.9813),
    "music_guitar_strum_96k_24bit_st.flac": (-23.1987, None),
    "speech_en_cards_16k.flac": (-20.6807, None),
    "speech_en_austen_16k.flac": (-24.7574, None),
    "speech_en_kathleen_44k.flac": (-27.7322, -27.6863),
}


def slow_weighting(samples):
    for b0, b1, b2, a1, a2 in TABLE:
        x1 = x2 = y1 = y2 = 0.0
        output = []
        for x in samples:
            y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            x1, x2, y1, y2 = x, x1, y, y1
            output.append(y)
        samples = output
    return np.array(samples)


def slow_loudness(samples, rate):
    """The formulas of BS.1770-4 taken literally; only for front channels at 48 kHz."""
    weighted = [slow_weighting(channel.astype(np.float64)) for channel in samples]
    step, length = rate // 10, 4 * rate // 10
    blocks = []
    for start in range(0, samples.shape[1] - length + 1, step):
        blocks.append(sum(np.mean(channel[start : start + length] ** 2) for channel in weighted))
    gated = [z for z in blocks if -0.691 + 10 * math.log10(z) > -70]
    gate = -0.691 + 10 * math.log10(np.mean(gated)) - 10
    return -0.691 + 10 * math.log10(np.mean([z for z in gated if -0.691 + 10 * math.log10(z) > gate]))


def tone(rate, *parts, channels=(1, 1), hz=1000.0):
    """A sine of (dBFS, seconds) parts in sequence, in channels of these relative levels."""
    samples = []
    for level_db, seconds in parts:
        phase = 2 * np.pi * hz / rate * np.arange(round(rate * seconds))
        samples.append(10 ** (level_db / 20) * np.sin(phase))
    return np.outer(channels, np.concatenate(samples))


def test_matches_a_slow_meter():
    random = np.random.default_rng(3)
    envelope = np.repeat([1, 0.1, 0.5, 1e-5, 0.2, 0.002, 0.3], 7000)
    samples = (random.uniform(-1, 1, (2, envelope.size)) * envelope).astype(np.float32)
    assert audio.loudness_lufs(samples, 48000) == pytest.approx(slow_loudness(samples, 48000), abs=1e-6)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23),  # case 1
        ([(-33, 20)], -33),  # 2
        ([(-36, 10), (-23, 60), (-36, 10)], -23),  # 3
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),  # 4
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),  # 5
    ],
)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_ebu_test_signals(parts, expected, rate):
    """EBU Tech 3341, table 1: stereo tones of 1 kHz, within 0.1 LU."""
    shift = 0.04 if rate == 16000 else 0  # the bilinear transform bends the shelf's slope near half the rate
    assert audio.loudness_lufs(tone(rate, *parts), rate) == pytest.approx(expected - shift, abs=0.03)


def test_ebu_test_signal_of_five_channels():
    """EBU Tech 3341, case 6: -28 dBFS left and right, -24 centre, -30 surround."""
    levels = [10 ** (db / 20) for db in (-28, -28, -24, -30, -30)]
    samples = tone(48000, (0, 5), channels=levels)
    assert audio.loudness_lufs(samples, 48000) == pytest.approx(-23, abs=0.05)
    effects = tone(48000, (0, 5), channels=[1])
    surround = np.concatenate([samples[:3], effects, samples[3:]])  # 5.1: the fourth channel is not heard
    assert audio.loudness_lufs(surround, 48000) == pytest.approx(-23, abs=0.05)


@pytest.mark.parametrize("rate", [32000, 44100, 48000, 96000, 192000])
def test_full_scale_sine(rate):
    """BS.1770-4: a 997 Hz sine of 0 dBFS in one front channel reads -3.01."""
    samples = tone(rate, (0, 1), channels=(1, 0, 0), hz=997)
    assert audio.loudness_lufs(samples, rate) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("name", PYLOUDNORM)
def test_matches_pyloudnorm(name):
    samples, rate = audio.read(CLIPS / name)
    loudness = audio.loudness_lufs(samples[:, : samples.shape[1] // (rate // 10) * (rate // 10)], rate)
    approximate, exact = PYLOUDNORM[name]
    assert loudness - 0.041 == pytest.approx(approximate, abs=0.01)
    if exact is not None:
        assert loudness == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("rate", [11025, 44100])  # 11025: segments of 1102 and 1103 samples
def test_pieces_equal_the_whole(rate):
    random = np.random.default_rng(4)
    samples = random.uniform(-1, 1, (2, 3 * rate)) * np.linspace(0, 1, 3 * rate)
    whole = audio.loudness_lufs(samples, rate)
    for sizes in ([1, 63, 64, 65, 4096], [2 * rate], [rate // 10, 7]):
        meter = audio.LoudnessMeter(2, rate)
        start = 0
        while start < samples.shape[1]:
            size = int(random.choice(sizes)) if start > 300 else 1
            meter.push(samples[:, start : start + size])
            start += size
        assert meter.integrated_lufs() == pytest.approx(whole, abs=1e-9)


def test_filter_in_blocks_equals_filter_by_sample():
    """The state after any number of samples, at a rate where the filter's memory is longest."""
    random = np.random.default_rng(5)
    weighting = loudness._k_weighting(192000)
    samples = random.standard_normal((2, 1000))
    expected, state = weighting.apply(samples, np.zeros((2, 4)))
    for cut in (1, 2, 63, 64, 65, 128, 500, 999):
        first, middle = weighting.apply(samples[:, :cut], np.zeros((2, 4)))
        second, after = weighting.apply(samples[:, cut:], middle)
        np.testing.assert_allclose(np.concatenate([first, second], 1), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(after, state, rtol=1e-7)


def test_stereo_is_three_db_louder_than_mono():
    mono = tone(48000, (-20, 1), channels=[1])
    both = audio.loudness_lufs(np.repeat(mono, 2, 0), 48000)
    assert both - audio.loudness_lufs(mono, 48000) == pytest.approx(10 * math.log10(2), abs=1e-6)


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 1)), np.zeros(48000), np.full(48000, 1e-5), np.full(9, 1e-9)]
)
def test_silence(samples):
    assert audio.loudness_lufs(samples, 48000) == -math.inf
    assert audio.loudness_gain(samples, 48000, -16) == 1.0


def test_the_absolute_gate():
    assert audio.loudness_lufs(tone(48000, (-69.9, 1)), 48000) == pytest.approx(-69.9, abs=0.05)
    assert audio.loudness_lufs(tone(48000, (-70.1, 1)), 48000) == -math.inf


def test_short_clips_are_one_block():
    short, block = tone(48000, (-20, 0.3)), tone(48000, (-20, 0.4))
    assert audio.loudness_lufs(short, 48000) == pytest.approx(audio.loudness_lufs(block, 48000), abs=0.1)
    assert math.isfinite(audio.loudness_lufs([0.5], 48000))


def test_an_unfinished_block_does_not_count():
    finished = tone(48000, (-20, 1))
    longer = np.concatenate([finished, np.ones((2, 4799))], axis=1)
    assert audio.loudness_lufs(longer, 48000) == audio.loudness_lufs(finished, 48000)


def test_gain_reaches_the_target_and_keeps_the_image():
    samples, rate = audio.read(CLIPS / "music_guitar_em9_44k_st.flac")
    gain = audio.loudness_gain(samples, rate, -23)
    assert isinstance(gain, float)
    assert audio.loudness_lufs(samples * gain, rate) == pytest.approx(-23, abs=1e-4)


@pytest.mark.parametrize("rate", [100, 1000, 3363, 3364, 8000, 768000])
def test_any_rate(rate):
    noise = np.random.default_rng(6).uniform(-0.5, 0.5, rate)
    assert -40 < audio.loudness_lufs(noise, rate) < -5


def test_refuses():
    with pytest.raises(AudioError, match="at least 100 Hz, got 99"):
        audio.loudness_lufs(np.ones(9), 99)
    with pytest.raises(AudioError, match="got 1 channels, this meter has 2"):
        audio.LoudnessMeter(2, 48000).push(np.ones(9))
    assert audio.LoudnessMeter(2, 48000).integrated_lufs() == -math.inf
