"""Ten minutes of real recordings, in chunks and whole: the same codes and the same audio."""

from pathlib import Path

import numpy as np
import pytest
import torch
from codes import CodeAgreement, compare_codes
from models import SHAPES, save_model

from dacodec import DacModel
from dacodec.audio import read, resample
from dacodec.batching.chunks import decode_chunks, encode_chunks
from dacodec.engine import TorchEngine
from dacodec.engine.base import Pushed
from dacodec.engine.pieces import encoder_in_pieces

CLIPS = Path(__file__).parents[1] / "data" / "clips"
SECONDS = 120
CHUNK_FRAMES = (37, 50, 101, 173, 500)


class Latents:
    """An engine whose codes are the encoder's latents."""

    def __init__(self, model):
        self.geometry, self.encoder = model.geometry, encoder_in_pieces(model.encoder)

    @torch.inference_mode()
    def push_audio(self, audio, state, n_quantizers, end):
        return Pushed(*self.encoder.push(audio[:, None], state, end))


def recording(rate, seed):
    """Two minutes: the clips in another order and at other levels for every seed."""
    random = np.random.default_rng(seed)
    parts, left = [], SECONDS * rate
    while left > 0:
        for path in random.permutation(sorted(CLIPS.glob("*.flac"))):
            audio = read(path)
            parts.append(resample(audio.samples[:1], audio.sampling_rate, rate) * random.uniform(0.2, 1))
            left -= parts[-1].shape[1]
    return torch.from_numpy(np.concatenate(parts, axis=1)[:, : SECONDS * rate].astype(np.float32))


@pytest.fixture(scope="module")
def agreements():
    """The results of all seeds, for the rule on how many frames may differ."""
    found = []
    yield found
    sum(found, CodeAgreement()).assert_rare()


@pytest.mark.parametrize("seed", range(5))
def test_long_recordings_in_chunks(seed, tmp_path, agreements):
    model = DacModel.from_pretrained(save_model(tmp_path, seed=seed, **SHAPES["16khz"])).eval()
    engine, audio = TorchEngine(model), recording(16000, seed)

    def coded(engine, chunk_frames):
        return torch.cat(list(encode_chunks(engine, [audio], None, chunk_frames)), 2)

    whole, chunked = coded(engine, 10**9), coded(engine, CHUNK_FRAMES[seed])
    latents = [coded(Latents(model), n) for n in (CHUNK_FRAMES[seed], 10**9)]
    agreements.append(compare_codes(chunked, whole, *latents, model.state_dict()))
    one, other = (torch.cat(list(decode_chunks(engine, [whole], n)), 1) for n in (CHUNK_FRAMES[seed], 10**9))
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()
