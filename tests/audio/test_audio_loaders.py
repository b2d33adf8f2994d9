"""Audio as data loaders return it: stand-ins for the objects of datasets 3 and 4 and torchcodec."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dacodec.audio import Audio, unpacked
from dacodec.errors import AudioError

SAMPLES = np.linspace(-0.5, 0.5, 800, dtype=np.float32)


@dataclass
class AudioSamples:
    """torchcodec's."""

    data: torch.Tensor
    pts_seconds: float
    duration_seconds: float
    sample_rate: int


class AudioDecoder:
    """torchcodec's decoder, and that of datasets, which also has the keys of older rows."""

    def __init__(self):
        self.metadata = SimpleNamespace(sample_rate=16000)

    def get_all_samples(self):
        return AudioSamples(torch.from_numpy(SAMPLES)[None], 0.0, 0.05, 16000)

    def __getitem__(self, name):
        return {"array": SAMPLES, "sampling_rate": 16000}[name]


HANDED_OUT = {
    "row": {"path": "a.wav", "array": SAMPLES, "sampling_rate": 16000},
    "row of lists": {"path": None, "array": SAMPLES.tolist(), "sampling_rate": 16000},
    "row of tensors": {"array": torch.from_numpy(SAMPLES), "sampling_rate": torch.tensor(16000)},
    "decoder": AudioDecoder(),
    "samples": AudioDecoder().get_all_samples(),
    "our own": Audio(SAMPLES[None], 16000),
}


@pytest.mark.parametrize("rate", [None, 16000, np.int64(16000), 16000.0])
@pytest.mark.parametrize("given", HANDED_OUT.values(), ids=HANDED_OUT)
def test_samples_and_rate_come_from_the_object(given, rate):
    array, own_rate = unpacked(given, rate)
    assert own_rate == 16000
    np.testing.assert_array_equal(np.ravel(np.asarray(array, np.float32)), SAMPLES)


@pytest.mark.parametrize("given", HANDED_OUT.values(), ids=HANDED_OUT)
def test_a_rate_that_contradicts_is_an_error(given):
    with pytest.raises(AudioError, match=r"says that it is at 16000 Hz, and 44100 Hz was given; leave"):
        unpacked(given, 44100)


def test_arrays_need_a_rate():
    for array in (SAMPLES, torch.from_numpy(SAMPLES), SAMPLES.tolist()):
        same, rate = unpacked(array, 8000)
        assert (same is array, rate) == (True, 8000)
        with pytest.raises(AudioError, match="give it, in Hz"):
            unpacked(array)


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        ({"audio": HANDED_OUT["row"], "text": "hello"}, r"row\['audio'\]"),
        ({"bytes": b"RIFF", "path": "a.wav"}, "cast its column to datasets.Audio"),
        ({"bytes": None, "path": "a.wav", "array": None, "sampling_rate": None}, "cast its column"),
    ],
)
def test_rows_without_audio(row, remedy):
    with pytest.raises(AudioError, match=remedy):
        unpacked(row, 16000)
