"""Arrays from elsewhere become float32 [C, T], or an error that says what is wrong and where."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dacodec import audio
from dacodec.errors import AudioError


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int8", [-128, 0, 127], [-1, 0, 127 / 128]),
        ("uint8", [0, 128, 255], [-1, 0, 127 / 128]),
        ("int16", [-32768, 0, 1, 32767], [-1, 0, 2**-15, 32767 / 32768]),
        (">i2", [-32768, 0, 1, 32767], [-1, 0, 2**-15, 32767 / 32768]),
        ("uint16", [0, 32768, 65535], [-1, 0, 32767 / 32768]),
        ("int32", [-(2**31), 0, 2**30, 256], [-1, 0, 0.5, 2**-23]),
        ("uint32", [0, 2**31, 2**31 + 1], [-1, 0, 2**-31]),
        ("float16", [-1.5, 0.25], [-1.5, 0.25]),
        ("float64", [-1.5, 0.25], [-1.5, 0.25]),
    ],
)
def test_dtypes(dtype, values, expected):
    result = audio.as_float(np.array(values, dtype))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, [expected])


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor([0.5, -0.25], requires_grad=True), [[0.5, -0.25]]),
        (torch.tensor([[0.5], [-0.25]], dtype=torch.bfloat16), [[0.5], [-0.25]]),
        (torch.tensor([16384, -32768], dtype=torch.int16), [[0.5, -1]]),
    ],
)
def test_torch_tensors(tensor, expected):
    np.testing.assert_array_equal(audio.as_float(tensor), expected)


def test_lists_are_numbers_and_lists_of_arrays_are_arrays():
    np.testing.assert_array_equal(audio.as_float([0, 1, -1]), [[0, 1, -1]])
    np.testing.assert_array_equal(audio.as_float([[0.5, 1], [0, 0]]), [[0.5, 1], [0, 0]])
    pcm = np.array([16384, 0], np.int16)
    np.testing.assert_array_equal(audio.as_float([pcm, -pcm]), [[0.5, 0], [-0.5, 0]])


def test_views_become_contiguous():
    samples = np.arange(12, dtype=np.float32).reshape(6, 2)[::-1]
    result = audio.as_float(samples.T)
    np.testing.assert_array_equal(result, samples.T)
    torch.from_numpy(result)  # refuses negative strides


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "no samples"),
        (np.zeros((2, 0)), "no samples"),
        (np.zeros((1, 1, 5)), r"got shape \(1, 1, 5\)"),
        (0.5, r"got shape \(\)"),
        (np.zeros((44100, 2)), "44100 channels .* pass its transpose"),
        (np.zeros(3, np.int64), "int64 has no agreed scale"),
        (np.zeros(3, bool), "bool has no agreed scale"),
        (np.zeros(3, complex), "complex128 has no agreed scale"),
        (["a", "b"], "no agreed scale"),
        ([[1.0], [1.0, 2.0]], "not an array"),
        (np.array([[0, 0], [0, np.nan]]), "nan at sample 1 of channel 1"),
        (np.array([0, 0, -np.inf, np.nan]), "-inf at sample 2 of channel 0"),
        (np.array([0, 1e300]), "inf at sample 1"),
    ],
)
def test_refuses(samples, message):
    with pytest.raises(AudioError, match=message) as caught:
        audio.as_float(samples)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [44100, 44100.0, np.int32(44100)])
def test_sampling_rates(rate):
    assert audio.check_sampling_rate(rate) == 44100
    assert type(audio.check_sampling_rate(rate)) is int


@pytest.mark.parametrize("rate", [0, -1, 44100.5, 768_001, float("nan"), float("inf"), None, "44100"])
def test_refuses_sampling_rates(rate):
    with pytest.raises(AudioError, match="whole number of Hz"):
        audio.check_sampling_rate(rate)


def test_does_not_import_torch():
    subprocess.run(
        [sys.executable, "-c", "import dacodec.audio, sys; assert 'torch' not in sys.modules"], check=True
    )
