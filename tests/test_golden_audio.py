"""The golden files of the format: the tiny model that coded them still decodes and codes them identically."""

from pathlib import Path

import numpy as np
import pytest

from dacodec import Codec, Encoded
from dacodec.audio import read
from dacodec.container import MID_SIDE, Reader, read_prior
from dacodec.container.prior import prior_with_id
from dacodec.encoded import model_of

GOLDEN = Path(__file__).parent / "container" / "golden"
CLIP = Path(__file__).parent / "data" / "clips" / "speech_en_cards_16k.flac"
FROZEN = (
    "Version 1 of the format is frozen, and people's archives hold files like this one: decoding has to give the same "
    "audio, and the model the same fingerprint. Mend the code; the golden files stay as they are."
)


@pytest.fixture(scope="module")
def codec():
    return Codec.from_pretrained(GOLDEN / "model")


def load(name, conceal=False):
    with (GOLDEN / f"{name}.dacz").open("rb") as file:
        reader = Reader(file, prior=read_prior(GOLDEN / "model" / "codes.prior"), conceal=conceal)
        codes, header = reader.read_codes(), reader.header
    mid_side = header.channel_coding == MID_SIDE
    return Encoded(codes, header.sampling_rate, reader.n_samples, model_of(header), header.gain, mid_side)


@pytest.mark.parametrize("name", ["speech-raw", "speech-coded", "speech-live", "guitar-mid-side"])
def test_golden_files_are_decoded_to_the_same_audio(codec, name):
    encoded = load(name)
    assert encoded.model.fingerprint == codec.model.fingerprint, FROZEN
    expected = np.load(GOLDEN / f"{name.split('-')[0]}.npy")
    np.testing.assert_allclose(codec.decode(encoded), expected, rtol=0, atol=1e-5, err_msg=FROZEN)


def test_a_golden_recording_that_was_cut_off_is_decoded_up_to_the_cut(codec):
    audio = codec.decode(load("speech-cut", conceal=True))
    # Beyond the decoder's receptive field around the missing part.
    far = audio.shape[1] - 16 * codec.model.hop_length
    assert audio.shape == (1, 72 * 32)
    expected = np.load(GOLDEN / "speech.npy")[:, :far]
    np.testing.assert_allclose(audio[:, :far], expected, rtol=0, atol=1e-5, err_msg=FROZEN)


def test_golden_speech_is_coded_the_same(codec):
    """Not a promise of the format. But noise of 1e-4 of each sample changes no code of this clip, so nothing else may."""
    speech = read(CLIP).samples[:1, 3200:6400]
    np.testing.assert_array_equal(codec.encode(speech, 16000).codes, load("speech-raw").codes)


# Files name the model and the prior that coded them, so everything ever released keeps being shipped.
SHIPPED = {"small-3": "83413450902aa71b"}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_was_shipped_still_is(name):
    prior = prior_with_id(bytes.fromhex(SHIPPED[name]))
    assert prior is not None, FROZEN
    assert prior.fingerprint == Codec.from_pretrained(name).model.fingerprint, FROZEN
