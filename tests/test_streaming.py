"""Live coding is offline coding, bit by bit."""

import copy
import pickle

import numpy as np
import pytest
from models import SHAPES, save_model

from dacodec import Codec
from dacodec.concealment import FADE_FRAMES, Envelope
from dacodec.engine import TorchEngine
from dacodec.errors import AudioError, CodesError


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    """In float64, so that codes are identical and errors show."""
    codecs = {}
    for name, shape in SHAPES.items():
        codec = Codec.from_pretrained(save_model(tmp_path_factory.mktemp(name), **shape), engine="torch")
        codecs[name] = Codec(TorchEngine(codec.engine.model.double()), codec.model)
    return codecs


@pytest.fixture
def codec(codecs):
    return codecs["16khz"]


def noise(channels, n_samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (channels, n_samples)).astype(np.float32)


def encoded_live(coder, audio, sizes):
    state, parts, position, i = None, [], 0, 0
    while position < audio.shape[1]:
        piece = audio[:, position : position + sizes[i % len(sizes)]]
        codes, state = coder.push(piece, state)
        parts.append(codes)
        position, i = position + piece.shape[1], i + 1
    return np.concatenate([*parts, coder.flush(state)], axis=2)


def decoded_live(coder, codes, sizes, n_samples=None, missing=None):
    state, parts, position, i = None, [], 0, 0
    while position < codes.shape[2]:
        piece = np.s_[position : position + sizes[i % len(sizes)]]
        audio, state = coder.push(codes[:, :, piece], state, None if missing is None else missing[piece])
        parts.append(audio)
        position, i = min(piece.stop, codes.shape[2]), i + 1
    return np.concatenate([*parts, coder.flush(state, n_samples)], axis=1)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rate", [None, 11025, 48000])
@pytest.mark.parametrize("sizes", [[777], [0, 1, 5000, 3]])
def test_live_is_offline(codecs, name, rate, sizes):
    codec = codecs[name]
    rate = rate or codec.sampling_rate
    audio = noise(2, 9001)
    encoded = codec.encode(audio, rate)
    assert np.array_equal(encoded_live(codec.stream_encoder(rate), audio, sizes), encoded.codes)
    live = decoded_live(codec.stream_decoder(rate), encoded.codes, [1, 0, 3], encoded.n_samples)
    np.testing.assert_allclose(live, codec.decode(encoded), atol=1e-6)


def test_one_sample_at_a_time(codecs):
    codec, audio = codecs["odd"], noise(1, 300)
    encoded = codec.encode(audio, 8000)
    assert np.array_equal(encoded_live(codec.stream_encoder(8000), audio, [1]), encoded.codes)


def test_fewer_codebooks_and_all_that_the_frames_give(codec):
    audio = noise(1, 5000)
    encoder = codec.stream_encoder(16000, n_quantizers=3)
    codes = encoded_live(encoder, audio, [160])
    assert np.array_equal(codes, codec.encode(audio, 16000, n_quantizers=3).codes)
    live = decoded_live(codec.stream_decoder(), codes, [2])
    np.testing.assert_allclose(live, codec.decode(codec.from_codes(codes)), atol=1e-6)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_codes_come_as_soon_as_the_lookahead_says(codec, rate):
    encoder = codec.stream_encoder(rate)
    n_frames, hop = 10, codec.model.hop_length
    needed = n_frames * hop / codec.sampling_rate + encoder.lookahead_seconds
    audio = noise(1, rate)
    assert encoder.push(audio[:, : int(np.ceil(needed * rate)) + 1]).codes.shape[2] == n_frames
    assert encoder.push(audio[:, : int(needed * rate) - 2 - rate // 16000]).codes.shape[2] == n_frames - 1


def test_states_are_values(codec):
    """They can be copied, pickled, and gone back to; signals do not mix."""
    encoder, audio, other = codec.stream_encoder(22050), noise(1, 6000), noise(1, 6000, seed=1)
    _, state = encoder.push(audio[:, :2500])
    kept = pickle.dumps(state)
    first = encoder.push(audio[:, 2500:], copy.deepcopy(state))
    encoder.push(other, state)
    again = encoder.push(audio[:, 2500:], pickle.loads(kept))
    assert np.array_equal(first.codes, again.codes)
    assert np.array_equal(encoder.flush(first.state), encoder.flush(again.state))
    assert len(kept) < 300_000  # no whole signal hides in it
    decoder, codes = codec.stream_decoder(22050), codec.encode(audio, 22050).codes
    _, state = decoder.push(codes[:, :, :8])
    one, two = (
        decoder.push(codes[:, :, 8:], pickle.loads(pickle.dumps(state))),
        decoder.push(codes[:, :, 8:], state),
    )
    assert np.array_equal(one.audio, two.audio)


def test_refusals(codec):
    encoder, decoder = codec.stream_encoder(16000), codec.stream_decoder()
    _, state = encoder.push(noise(2, 100))
    with pytest.raises(AudioError, match="1 channel"):
        encoder.push(noise(1, 100), state)
    with pytest.raises(AudioError, match="nan"):
        encoder.push(np.full((2, 5), np.nan), state)
    _, state = decoder.push(np.zeros((1, 3, 4), int))
    with pytest.raises(CodesError, match="codebooks"):
        decoder.push(np.zeros((1, 2, 4), int), state)
    with pytest.raises(CodesError, match="code 64"):
        decoder.push(np.full((1, 3, 4), 64), state)


def test_lost_frames_are_concealed_and_all_is_exact_again(codec):
    audio = noise(1, 32000)
    codes = codec.encode(audio, 16000).codes
    clean = codec.decode(codec.from_codes(codes))
    missing = np.zeros(codes.shape[2], bool)
    missing[30:34] = missing[60 : 60 + 2 * FADE_FRAMES] = True
    damaged = codes.copy()
    damaged[:, :, missing] = 9999  # whatever came instead
    live = decoded_live(codec.stream_decoder(), damaged, [3], missing=missing)
    hop, halo = codec.model.hop_length, codec.geometry.decoder_halo
    touched = np.zeros(codes.shape[2], bool)
    for frame in np.flatnonzero(missing):
        touched[frame - halo : frame + halo + 2] = True
    exact = ~np.repeat(touched, hop)[: live.shape[1]]
    assert exact.mean() > 0.2
    np.testing.assert_allclose(live[:, exact], clean[:, exact], atol=1e-6)
    assert np.abs(live[:, (60 + FADE_FRAMES) * hop : (60 + 2 * FADE_FRAMES) * hop]).max() == 0
    assert np.abs(live[:, 30 * hop : 34 * hop]).max() > 0
    assert live.shape == clean.shape


def test_nothing_but_losses_is_silence_in_the_end(codec):
    missing = np.ones(3 * FADE_FRAMES, bool)
    live = decoded_live(codec.stream_decoder(), np.zeros((1, 4, len(missing)), int), [4], missing=missing)
    assert np.abs(live[:, FADE_FRAMES * codec.model.hop_length :]).max() == 0


def test_envelopes_have_no_steps():
    missing = np.random.default_rng(0).random(200) < 0.3
    envelope, parts = Envelope().add(missing), []
    for n in (1, 700, 3, 0, 5000, 100000):
        part, envelope = envelope.apply(np.ones((1, min(n, 200 * 64 - envelope.position)), np.float32), 64)
        parts.append(part)
    gain = np.concatenate(parts, axis=1)[0]
    assert len(gain) == 200 * 64
    assert np.abs(np.diff(gain)).max() <= 1 / 64 + 1e-6
    frames = gain.reshape(200, 64)
    assert (frames[~missing][:, -1] > 1 - 1 / 64 - 1e-6).all()
    assert (frames[missing][:, -1] < 1).all()
