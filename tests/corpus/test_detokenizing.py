"""Tokens become the audio that Codec.decode gives for them, and are counted."""

import io

import inline
import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from models import save_model

from dacodec import Codec
from dacodec.audio import read, write
from dacodec.corpus.detokenizing import detokenize
from dacodec.corpus.inspecting import info
from dacodec.corpus.settings import Settings
from dacodec.corpus.tokenizing import tokenize
from dacodec.errors import AudioError, InputError, ModelMismatchError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(
        save_model(tmp_path_factory.mktemp("model"), downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    )


@pytest.fixture(scope="module")
def codec(model):
    return Codec.from_pretrained(model)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = made.folder(tmp_path_factory.mktemp("corpus"), n=3, seconds=0.3)
    (folder / "stereo.wav").write_bytes(made.wav(0.2, 5, channels=2, rate=22050))
    (folder / "long.wav").write_bytes(made.wav(31.0, 6))
    return folder


@pytest.fixture(scope="module", params=["parquet", "tar", "dacz"])
def tokens(request, corpus, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("tokens") / "out"
    settings = Settings(channels="mid-side", loudness_lufs=-20)
    tokenize(corpus, output, model=model, form=request.param, settings=settings, run=inline.run)
    return output


def test_audio_is_what_decode_gives(tokens, corpus, codec, tmp_path):
    report = detokenize(tokens, tmp_path, run=inline.run)
    assert (report.done, report.skipped, report.failures) == (5, 0, [])
    for name, output in {
        **{n: n for n in ("a.wav", "c.wav", "stereo.wav", "long.wav")},
        "sub/b.flac": "sub/b.flac.wav",
    }.items():
        given = read(corpus / name)
        encoded = codec.encode(*given, loudness_lufs=-20, mid_side=len(given.samples) == 2)
        buffer = io.BytesIO()
        write(buffer, codec.decode(encoded), given.sampling_rate, format="wav")
        buffer.seek(0)
        made_now, rate = soundfile.read(tmp_path / output, dtype="int16", always_2d=True)
        expected, _ = soundfile.read(buffer, dtype="int16", always_2d=True)
        assert rate == given.sampling_rate
        assert made_now.shape == expected.shape == given.samples.T.shape
        assert np.abs(made_now.astype(int) - expected).max() <= 1  # chunks round differently
    report = detokenize(tokens, tmp_path, run=inline.run)
    assert (report.done, report.skipped) == (0, 5)
    report = detokenize(tokens, tmp_path, run=inline.run, overwrite=True)
    assert (report.done, report.skipped) == (5, 0)


def test_rows_of_a_language_model(codec, model, tmp_path):
    """Keys and codes in a Parquet file are enough, if the model is named."""
    codes = np.random.default_rng(0).integers(0, 64, (codec.n_codebooks, 20))
    table = pa.table({"key": ["x", "y"], "codes": [codes.tolist(), codes[:1].tolist()]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="name it"):
        detokenize(tmp_path / "x.parquet", tmp_path / "out", run=inline.run)
    report = detokenize(tmp_path / "x.parquet", tmp_path / "out", model=model, run=inline.run, format="flac")
    assert (report.done, report.failures) == (2, [])
    sound = soundfile.read(tmp_path / "out" / "x.flac", dtype="float32")[0]
    expected = codec.decode(codec.from_codes(codes))
    assert (
        len(sound) == 20 * codec.model.hop_length
    )  # the end of the last frame, which the model does not give, is silent
    assert np.abs(sound[: expected.shape[-1]] - np.clip(expected, -1, 1)).max() < 2**-14
    assert not sound[expected.shape[-1] :].any()


def test_what_cannot_be_decoded(tokens, model, tmp_path):
    other = save_model(tmp_path / "other", seed=2, downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    with pytest.raises(ModelMismatchError):
        detokenize(tokens, tmp_path / "out", model=str(other), run=inline.run)
    report = detokenize(tokens, tmp_path / "out", model=str(other), allow_other_model=True, run=inline.run)
    assert report.done == 5
    with pytest.raises(AudioError, match="no audio format"):
        detokenize(tokens, tmp_path / "out", format="nope", run=inline.run)
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(InputError, match="no"):
            detokenize(path, tmp_path / "out", run=inline.run)


def test_two_rows_with_one_name(model, tmp_path):
    pq.write_table(pa.table({"key": ["x", "x.wav"], "codes": [[[1]], [[2]]]}), tmp_path / "x.parquet")
    report = detokenize(tmp_path / "x.parquet", tmp_path / "out", model=model, run=inline.run)
    assert (report.done, [key for key, _ in report.failures]) == (1, ["x.wav"])


def test_info_counts(tokens, corpus, codec):
    found = info(tokens)
    encoded = [
        codec.encode(*(sound := read(path)), loudness_lufs=-20, mid_side=len(sound.samples) == 2)
        for path in [*corpus.glob("*.wav"), *corpus.glob("*/*.flac")]
    ]
    assert found.rows == found.inputs == 5
    assert found.seconds == pytest.approx(sum(one.duration_seconds for one in encoded))
    assert found.tokens == sum(one.codes.size for one in encoded)
    assert len(found.usage) == codec.n_codebooks
    for k, usage in enumerate(found.usage):
        counts = np.bincount(np.concatenate([one.codes[:, k].ravel() for one in encoded]))
        share = counts[counts > 0] / counts.sum()
        assert usage.used == len(share)
        assert usage.perplexity == pytest.approx(np.exp(-(share * np.log(share)).sum()))
