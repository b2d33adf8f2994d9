"""Audio on the device: crops against slices of the clips, and how they are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import RATE

from dacodec.audio import loudness_lufs
from dacodec.errors import ConfigError
from dacodec.training.clips import Clip
from dacodec.training.resident import GRID, Places, Resident, ResidentConfig, salient_starts
from dacodec.training.sources import Recording

LENGTH = 800
PLAIN = ResidentConfig(gain_share=0.0, mixed_share=0.0)


def clips(tmp_path):
    """Two loud clips, one of them half silent, and one shorter than a crop."""
    random = np.random.default_rng(0)
    stored, found = [], []
    for i, n in enumerate((20_000, 16_000, 500)):
        samples = (random.uniform(-1, 1, n) * 32767).astype(np.int16)
        samples[np.abs(samples).argmax()] = 32767
        if i == 1:
            samples[6000:] = 0
        found.append(Clip("p", RATE, n, str(tmp_path / "x.pcm"), sum(map(len, stored)), n, 0.05 / 32767))
        stored.append(samples)
    (tmp_path / "x.pcm").write_bytes(b"".join(x.tobytes() for x in stored))
    return found, stored


def resident(tmp_path, config=PLAIN, probabilities=(0.5, 0.3, 0.2)):
    found, stored = clips(tmp_path)
    made = Resident(found, np.array(probabilities), RATE, LENGTH, config, torch.device("cpu"))
    return made, stored


def test_crops_are_slices_of_clips_at_one_loudness(tmp_path):
    made, stored = resident(tmp_path)
    begins = [0, 20_000, 36_000]
    seen = set()
    for step in range(20):
        places = made.places(0, step, 6)
        audio = made.gather(places)
        assert audio.shape == (6, 1, LENGTH)
        assert audio.dtype == torch.float32
        for (start, _), (gain, second), crop in zip(
            places.starts.tolist(), places.gains.tolist(), audio[:, 0], strict=True
        ):
            clip = max(i for i in range(3) if start >= begins[i])
            seen.add(clip)
            whole = stored[clip].astype(np.float64)
            loud = whole * abs(gain)
            if clip == 0:
                assert loudness_lufs(loud[None].astype(np.float32), RATE) == pytest.approx(-16, abs=0.1)
            assert np.abs(loud).max() <= 1 + 1e-6
            at = start - begins[clip]
            expected = np.pad(whole, (0, LENGTH))[at : at + LENGTH] * gain
            np.testing.assert_allclose(crop.numpy(), expected, rtol=1e-5, atol=1e-7)
            assert second == 0
            assert at + LENGTH <= max(len(whole), LENGTH)
            if clip == 1:
                assert at // GRID * GRID < 6000  # the rest is silent
    assert seen == {0, 1, 2}


def test_a_batch_is_a_function_of_seed_and_step(tmp_path):
    made, _ = resident(tmp_path, ResidentConfig())
    whole = made.batches(3, 0, 4)
    crops = [next(whole) for _ in range(70)]  # more than are copied at once
    later = made.batches(3, 66, 4)
    for known in crops[66:]:
        assert torch.equal(next(later), known)
    halves = [made.batches(3, 5, 4, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.cat([next(h) for h in halves]), crops[5])
    assert not torch.equal(crops[0], crops[1])
    assert not torch.equal(next(made.batches(4, 0, 4)), crops[0])


def test_clips_are_drawn_by_their_probabilities_and_crops_are_changed_as_often_as_asked(tmp_path):
    config = ResidentConfig(gain_share=0.5, gain_db=(-12, -6), mixed_share=0.25, mixed_db=(-20, -10))
    made, _ = resident(tmp_path, config, (0.6, 0.3, 0.1))
    places = made.places(0, 0, 20_000)
    starts, gains = places.starts.numpy(), places.gains.numpy()
    clip = np.searchsorted([20_000, 36_000], starts[:, 0], "right")
    assert np.bincount(clip) / len(clip) == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    level = 20 * np.log10(np.abs(gains[:, 0]) / made.gains[clip])
    changed = np.abs(level) > 1e-3
    assert changed.mean() == pytest.approx(0.5, abs=0.02)
    assert (level[changed].min(), level[changed].max()) == pytest.approx((-12, -6), abs=0.1)
    assert (gains[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (gains[:, 1] != 0).mean() == pytest.approx(0.25, abs=0.02)


def test_a_second_crop_is_mixed_in_and_nothing_clips(tmp_path):
    made, stored = resident(tmp_path)
    starts = torch.tensor([[100, 20_000], [100, 20_000]])
    gains = torch.tensor([[1e-6, -2e-6], [3e-5, 3e-5]])
    audio = made.gather(Places(starts, gains))[:, 0].numpy()
    a, b = stored[0][100 : 100 + LENGTH].astype(np.float64), stored[1][:LENGTH].astype(np.float64)
    np.testing.assert_allclose(audio[0], 1e-6 * a - 2e-6 * b, rtol=1e-4, atol=1e-7)
    loud = 3e-5 * (a + b)
    assert np.abs(loud).max() > 1
    np.testing.assert_allclose(audio[1], loud / np.abs(loud).max(), rtol=1e-4, atol=1e-7)


def test_salient_starts_by_a_direct_computation():
    random = np.random.default_rng(1)
    samples = (0.1 * random.standard_normal(9000) * (np.arange(9000) % 4000 < 1000)).astype(np.float32)
    expected = [s for s in range(0, 9000 - LENGTH + 1, GRID) if np.mean(samples[s : s + LENGTH] ** 2) > 1e-4]
    assert salient_starts(samples, 9000, LENGTH).tolist() == expected
    assert 0 < len(expected) < 8
    assert salient_starts(samples[:300], LENGTH, LENGTH).tolist() == [0]
    quiet = np.zeros(5000, np.float32)
    quiet[2500] = 1e-3  # nothing is loud enough: then the loudest place
    [start] = salient_starts(quiet, 5000, LENGTH)
    assert start <= 2500 < start + LENGTH


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"raise it, or leave data\.resident out"):
        resident(tmp_path, replace(PLAIN, gb=1e-5))
    found, _ = clips(tmp_path)
    undecoded = replace(found[0], recording=Recording("p", "x.wav", "", 0, 9))
    with pytest.raises(ConfigError, match="cache_gb"):
        Resident([undecoded], np.array([1.0]), RATE, LENGTH, PLAIN, torch.device("cpu"))
