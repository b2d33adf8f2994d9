"""Any audio in, the same length out; files; errors."""

import io
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models import SHAPES, save_model

from dacodec import Codec, Encoded
from dacodec.audio import as_float, loudness_lufs, read, resample
from dacodec.container import Reader, Writer
from dacodec.engine import TorchEngine
from dacodec.engine.base import Pushed
from dacodec.errors import AudioError, CodesError, EngineError, FormatError, ModelMismatchError, OutputError

CLIPS = Path(__file__).parents[1] / "data" / "clips"


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    return {
        name: Codec.from_pretrained(save_model(tmp_path_factory.mktemp(name), **shape))
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def codec(codecs):
    return codecs["16khz"]


def tone(n_samples, channels=None, rate=16000):
    t = np.arange(n_samples) / rate
    x = 0.3 * np.sin(2 * np.pi * 300 * t) + 0.1 * np.sin(2 * np.pi * 1234 * t)
    return (x if channels is None else np.stack([x / (i + 1) for i in range(channels)])).astype(np.float32)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000])
def test_as_many_samples_back_as_went_in(codecs, name, rate):
    codec = codecs[name]
    hop = codec.model.hop_length
    for n in (1, 2, hop - 1, hop, hop + 1, 10 * hop - 8, 10 * hop, 4999):
        audio = tone(n)
        encoded = codec.encode(audio, rate)
        decoded = codec.decode(encoded)
        assert decoded.shape == audio.shape
        assert decoded.dtype == np.float32
        assert np.isfinite(decoded).all()


@pytest.mark.parametrize("name", SHAPES)
def test_no_frame_more_than_the_length_needs(codecs, name):
    codec = codecs[name]
    for n in (1, codec.model.hop_length, 3217):
        frames = codec.encode(tone(n), codec.sampling_rate).n_frames
        assert codec.geometry.samples(frames) >= n
        assert frames == 1 or codec.geometry.samples(frames - 1) < n


def test_the_end_is_decoded_not_padded(codecs):
    """The last samples of a 16 kHz recording come from the decoder, though the model loses 8."""
    codec = codecs["16khz"]
    decoded = codec.decode(codec.encode(tone(3200), 16000))
    assert np.count_nonzero(decoded[-8:]) == 8


def test_codes_are_the_models(codec):
    audio = tone(3200)
    model = codec.engine.model
    codec = Codec(TorchEngine(model), codec.model)
    expected = model.encode(torch.from_numpy(np.pad(audio, (0, 320)))[None, None]).audio_codes
    encoded = codec.encode(audio, 16000)
    assert encoded.codes.dtype == np.uint16
    assert np.array_equal(encoded.codes, expected.numpy())
    values = model.decode(audio_codes=expected).audio_values[0, :3200].detach().numpy()
    assert np.array_equal(codec.decode(encoded), values)


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(1000, np.float32),
        np.full(1000, 0.5, np.float32),
        np.where(np.arange(1000) % 2, 1, -1).astype(np.float32),
        np.ones(1, np.float32),
        (tone(1000) * 32767).astype(np.int16),
        tone(1000).astype(np.float64),
        torch.from_numpy(tone(1000)),
        tone(1000, 2),
        tone(1000, 6),
    ],
    ids=["silence", "dc", "full scale", "one", "int16", "float64", "torch", "stereo", "5.1"],
)
def test_audio_of_every_kind(codec, audio):
    encoded = codec.encode(audio, 16000)
    decoded = codec.decode(encoded)
    assert decoded.shape == tuple(audio.shape)
    assert np.isfinite(decoded).all()


def test_integers_are_scaled(codec):
    audio = (tone(1000) * 32767).astype(np.int16)
    assert np.array_equal(
        codec.encode(audio, 16000).codes, codec.encode(audio / np.float32(32768), 16000).codes
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_a_number_is_an_error(codec, bad):
    audio = tone(100)
    audio[17] = bad
    with pytest.raises(AudioError, match="sample 17"):
        codec.encode(audio, 16000)


def test_no_samples_is_an_error(codec):
    with pytest.raises(AudioError):
        codec.encode(np.zeros((1, 0), np.float32), 16000)


def test_channels_are_coded_each_on_its_own(codec):
    both = codec.encode(tone(2000, 2), 16000)
    for i in range(2):
        alone = codec.encode(tone(2000, 2)[i], 16000)
        assert np.array_equal(alone.codes[0], both.codes[i])


def test_bitrates(codec):
    audio = tone(2000, 2)
    encoded = codec.encode(audio, 16000, n_quantizers=3)
    assert encoded.codes.shape[:2] == (2, 3)
    assert encoded.bitrate_kbps == pytest.approx(2 * 3 * 6 * 50 / 1000)
    assert codec.encode(audio, 16000, bitrate_kbps=1.8).n_codebooks == 3
    assert codec.encode(audio, 16000, bitrate_kbps=1.79).n_codebooks == 2
    assert codec.encode(audio, 16000, bitrate_kbps=100).n_codebooks == 12
    assert np.array_equal(codec.encode(audio, 16000).codes[:, :3], encoded.codes)
    for wrong in (
        dict(n_quantizers=0),
        dict(n_quantizers=13),
        dict(bitrate_kbps=0.1),
        dict(n_quantizers=1, bitrate_kbps=1),
    ):
        with pytest.raises(CodesError):
            codec.encode(audio, 16000, **wrong)


class Through:
    """An engine that codes nothing: it returns its input, so that only the codec's own effect shows."""

    chunk_seconds = 5.0

    def __init__(self, geometry):
        self.geometry = geometry

    def push_audio(self, audio, state, n_quantizers, end):
        assert end  # shorter than a chunk
        self.audio = audio
        codes = torch.zeros(len(audio), n_quantizers, self.geometry.frames(audio.shape[-1]), dtype=torch.long)
        return Pushed(codes, None)

    def push_codes(self, codes, state, end):
        return Pushed(self.audio, None)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_loudness_is_restored_and_one_gain_serves_all_channels(codec, rate):
    through = Codec(Through(codec.geometry), codec.model)
    audio = tone(rate, 2, rate) * 0.01
    encoded = through.encode(audio, rate, loudness_lufs=-16)
    inside = through.engine.audio.numpy()
    assert loudness_lufs(inside[:, :16000], 16000) == pytest.approx(-16, abs=0.1)
    decoded = through.decode(encoded)
    inner = np.s_[:, 1000:-1000]  # resampling and back blurs the cut ends
    assert np.abs((decoded - audio)[inner]).max() < 1e-4 * np.abs(audio).max()
    assert np.abs(inside).max() <= 1 + 1e-6
    loud = through.encode(np.sign(tone(16000)), 16000, loudness_lufs=0)
    assert loud.gain <= 1
    assert through.encode(np.zeros(16000), 16000, loudness_lufs=-16).gain == 1


def test_mid_and_side(codec, tmp_path):
    left, right = tone(9000, 2)
    right = np.roll(right, 5) * 0.7
    encoded = codec.encode(np.stack([left, right]), 16000, mid_side=True)
    mid, side = (left + right) / 2, (left - right) / 2
    assert np.array_equal(encoded.codes, codec.encode(np.stack([mid, side]), 16000).codes)
    mid, side = codec.decode(codec.from_codes(encoded.codes, n_samples=9000))
    np.testing.assert_allclose(codec.decode(encoded), [mid + side, mid - side], atol=1e-6)
    encoded.save(tmp_path / "x.dacz")
    assert Encoded.load(tmp_path / "x.dacz").mid_side
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav", subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "x.wav").samples, codec.decode(encoded), atol=1e-6)
    codec.encode_file(tmp_path / "x.wav", tmp_path / "y.dacz", mid_side=True)
    again = codec.encode(codec.decode(encoded), 16000, mid_side=True)
    assert np.array_equal(Encoded.load(tmp_path / "y.dacz").codes, again.codes)
    assert np.array_equal(
        codec.encode_batch([np.stack([left, right])], 16000, mid_side=True)[0].codes, encoded.codes
    )
    np.testing.assert_allclose(codec.decode_batch([encoded])[0], codec.decode(encoded), atol=1e-6)
    for channels in (1, 3):
        with pytest.raises(AudioError, match="two channels"):
            codec.encode(tone(900, channels), 16000, mid_side=True)


@pytest.mark.parametrize("mid_side", [False, True])
def test_the_codec_itself_keeps_the_stereo_image(codec, mid_side):
    """Level, phase and panning of real stereo, with an engine that codes nothing: any other change comes from the model."""
    through = Codec(Through(codec.geometry), codec.model)
    for path in sorted(CLIPS.glob("*_st.flac")):
        audio, rate = read(path)
        audio = audio[:, rate : 2 * rate]
        encoded = through.encode(audio, rate, loudness_lufs=-16, mid_side=mid_side)
        decoded = through.decode(encoded)
        in_band = resample(resample(audio, rate, 16000), 16000, rate)[:, :rate]
        for a, b in zip(image(decoded), image(in_band), strict=True):
            assert a == pytest.approx(b, abs=0.01)


def test_the_builtin_model_keeps_panning():
    """Levels between the channels of real stereo, within 0.5 dB. It does not keep phase: docs/log.md, "The stereo image"."""
    codec = Codec.from_pretrained("builtin")
    for path in sorted(CLIPS.glob("*_st.flac")):
        audio, rate = read(path)
        decoded = codec.decode(codec.encode(audio[:, : 4 * rate], rate))
        assert image(decoded)[0] == pytest.approx(image(audio[:, : 4 * rate])[0], abs=0.5), path.name


def image(audio):
    """Panning and phase as levels in dB: left to right, and mid to side."""
    left, right = audio
    return [
        10 * np.log10(np.mean(a**2) / np.mean(b**2)) for a, b in [(left, right), (left + right, left - right)]
    ]


def test_slices_and_concatenation(codec):
    encoded = codec.encode(tone(5000, 2, 22050), 22050)
    cuts = [0, 3, 4, encoded.n_frames]
    parts = [encoded[a:b] for a, b in pairwise(cuts)]
    assert sum(p.n_samples for p in parts) == 5000
    whole = Encoded.concatenate(parts)
    assert np.array_equal(whole.codes, encoded.codes)
    assert whole.n_samples == 5000
    assert codec.decode(parts[1]).shape == (2, parts[1].n_samples)
    assert len(encoded[:-1]) == encoded.n_frames - 1
    assert len(encoded[5:2]) == 0
    assert codec.decode(encoded[5:2]).shape == (2, 0)
    with pytest.raises(TypeError):
        encoded[::2]
    with pytest.raises(CodesError, match="n_channels is 2 and 1"):
        Encoded.concatenate([encoded, codec.encode(tone(100), 22050)])
    with pytest.raises(CodesError):
        Encoded.concatenate([])


def test_a_slice_decodes_to_its_part_of_the_whole(codec):
    """Beyond the decoder's receptive field, a cut changes nothing."""
    encoded = codec.encode(tone(320 * 60), 16000)
    whole, part = codec.decode(encoded), codec.decode(encoded[10:50])
    halo = codec.geometry.decoder_halo * 320
    assert np.abs(part[halo:-halo] - whole[10 * 320 : 50 * 320][halo:-halo]).max() < 1e-5


def test_files_there_and_back(codec, tmp_path):
    encoded = codec.encode(tone(5000, 2, 44100), 44100, n_quantizers=5, loudness_lufs=-16)
    encoded.save(tmp_path / "x.dacz")
    loaded = Encoded.load(tmp_path / "x.dacz")
    assert np.array_equal(loaded.codes, encoded.codes)
    for name in ("sampling_rate", "n_samples", "model", "gain", "bitrate_kbps", "n_channels"):
        assert getattr(loaded, name) == getattr(encoded, name)
    assert np.array_equal(codec.decode(loaded), codec.decode(encoded))
    with pytest.raises(OutputError, match="exists"):
        encoded.save(tmp_path / "x.dacz")
    encoded.save(tmp_path / "x.dacz", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.dacz"]


def test_audio_files_there_and_back(codec, tmp_path):
    import soundfile

    audio = tone(9001, 2, 22050)
    soundfile.write(tmp_path / "in.flac", audio.T, 22050)
    summary = codec.encode_file(tmp_path / "in.flac", tmp_path / "in.dacz")
    encoded = Encoded.load(tmp_path / "in.dacz")
    assert (summary.n_frames, summary.n_samples) == (encoded.n_frames, encoded.n_samples)
    assert (summary.bitrate_kbps, summary.duration_seconds) == (
        encoded.bitrate_kbps,
        encoded.duration_seconds,
    )
    codec.decode_file(tmp_path / "in.dacz", tmp_path / "out.wav")
    decoded, rate = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    assert rate == 22050
    assert decoded.shape == (9001, 2)
    assert np.abs(decoded.T - np.clip(codec.decode(encoded), -1, 1)).max() < 1e-4
    with (tmp_path / "in.dacz").open("rb") as file:
        assert Reader(file).header.model_name != "builtin"


def test_another_model_is_refused(codecs, codec, tmp_path):
    encoded = codec.encode(tone(1000), 16000)
    twin = Codec.from_pretrained(save_model(tmp_path, seed=2, **SHAPES["16khz"]))
    with pytest.raises(ModelMismatchError, match="allow_other_model"):
        twin.decode(encoded)
    assert twin.decode(encoded, allow_other_model=True).shape == (1000,)
    with pytest.raises(ModelMismatchError, match="shape"):
        codecs["44khz"].decode(encoded, allow_other_model=True)


def test_codes_from_outside(codec):
    codes = codec.encode(tone(3200), 16000).codes[0]  # [K, F]
    audio = codec.decode(codec.from_codes(codes.astype(np.int64)))
    assert audio.shape == (codec.geometry.samples(codes.shape[1]),)
    assert np.array_equal(audio[:3200], codec.decode(codec.encode(tone(3200), 16000)))
    assert codec.decode(codec.from_codes(torch.from_numpy(codes.astype(np.int32))[None])).ndim == 2
    assert codec.decode(codec.from_codes(codes, sampling_rate=48000, n_samples=9000)).shape == (9000,)
    codes = codes.astype(np.int64)
    codes[2, 5] = 64
    with pytest.raises(CodesError, match="code 64 at item 0, codebook 2, frame 5"):
        codec.from_codes(codes)
    for floats in (codes * 1.0, torch.from_numpy(codes).half()):
        with pytest.raises(CodesError, match=r"integers, got torch.float\d+: .*round and convert .*argmax"):
            codec.from_codes(floats)
    with pytest.raises(CodesError, match=r"integers, got torch.bool: convert them"):
        codec.from_codes(codes > 2)


def test_codes_with_time_first(codec):
    codes = codec.encode(tone(32000), 16000).codes
    assert codes.shape[2] > codec.n_codebooks
    for turned in (codes[0].T, codes.swapaxes(1, 2), torch.from_numpy(codes[0].T.astype(np.int64))):
        with pytest.raises(CodesError, match=r"time seems to come first: give their transpose"):
            codec.from_codes(turned)
    writer = Writer(io.BytesIO(), codec.from_codes(codes).header())
    with pytest.raises(CodesError, match=r"expected \[channels, codebooks, frames\].*; give the transpose"):
        writer.write(codes.swapaxes(1, 2))
    wide = np.zeros((codec.n_codebooks + 1,) * 2, int)  # the transpose would not fit either
    with pytest.raises(CodesError, match=r"got \(1, \d+, \d+\)$"):
        codec.from_codes(wide)


def test_audio_as_data_loaders_hand_it_out(codec):
    samples = tone(3000, rate=22050)
    expected = codec.encode(samples, 22050)
    row = {"path": "a.wav", "array": samples, "sampling_rate": 22050}
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(samples)[None], sample_rate=22050)
    )
    for given, flat in ((row, True), (decoder, False), (decoder.get_all_samples(), False)):
        encoded = codec.encode(given)
        assert (encoded.sampling_rate, encoded.n_samples, encoded.flat) == (22050, 3000, flat)
        np.testing.assert_array_equal(encoded.codes, expected.codes)
        with pytest.raises(AudioError, match="22050 Hz, and 16000 Hz was given"):
            codec.encode(given, 16000)
    with pytest.raises(AudioError, match="give it, in Hz"):
        codec.encode(samples)
    mixed = [row, samples, decoder]
    for rates in ([None, 22050, None], 22050, np.int64(22050), [22050] * 3):
        for encoded in codec.encode_batch(mixed, rates):
            np.testing.assert_array_equal(encoded.codes, expected.codes)
    assert len(codec.encode_batch([row, decoder])) == 2
    with pytest.raises(AudioError, match="give it, in Hz"):
        codec.encode_batch(mixed)
    with pytest.raises(AudioError, match="22050 Hz, and 44100 Hz was given"):
        codec.encode_batch(mixed, 44100)


def test_truncated_file(codec, tmp_path):
    codec.encode(tone(3200), 16000).save(tmp_path / "x.dacz")
    data = (tmp_path / "x.dacz").read_bytes()
    (tmp_path / "cut.dacz").write_bytes(data[:-3])
    with pytest.raises(FormatError, match="at byte"):
        Encoded.load(tmp_path / "cut.dacz")


def test_a_failed_write_leaves_nothing(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dacodec.encoded.Writer.write", lambda *_: (_ for _ in ()).throw(RuntimeError("disk"))
    )
    with pytest.raises(RuntimeError):
        codec.encode(tone(100), 16000).save(tmp_path / "x.dacz")
    assert not list(tmp_path.iterdir())


def test_several_threads_at_once(codec):
    audios = [tone(2000 + 300 * i) for i in range(4)]
    expected = [codec.decode(codec.encode(a, 16000)) for a in audios]
    results = [None] * 4

    def work(i):
        for _ in range(3):
            results[i] = codec.decode(codec.encode(audios[i], 16000))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_engine_rows_of_different_lengths(codec):
    """The engine contract: a padded row gives the same result as alone."""
    hop = codec.model.hop_length
    rows = [torch.from_numpy(as_float(tone(n * hop))) for n in (5, 12)]
    padded = torch.stack([torch.nn.functional.pad(r[0], (0, 12 * hop - r.shape[-1])) for r in rows])
    codes = codec.engine.encode(padded, torch.tensor([5 * hop, 12 * hop]))
    audio = codec.engine.decode(codes, torch.tensor([5, 12]))
    for i, (row, frames) in enumerate(zip(rows, (5, 12), strict=True)):
        alone = codec.engine.encode(row)
        assert torch.equal(codes[i, :, :frames], alone[0])
        assert not codes[i, :, frames:].any()
        n = codec.geometry.samples(frames)
        torch.testing.assert_close(audio[i, :n], codec.engine.decode(alone)[0], rtol=1e-4, atol=1e-5)
        assert not audio[i, n:].any()


def test_unknown_engine(tmp_path):
    with pytest.raises(EngineError, match="torch-compile"):
        Codec.from_pretrained(save_model(tmp_path), engine="fast")


def test_a_batch_is_its_items_one_at_a_time(codecs):
    rng = np.random.default_rng(0)
    for name in ("16khz", "odd"):
        codec = codecs[name]
        audios, rates = [], []
        for i in range(14):
            rate = (16000, 8000, 22050)[i % 3]
            audios.append(tone(int(rng.integers(1, 9000)), (None, 1, 2)[i % 3], rate))
            rates.append(rate)
        together = codec.encode_batch(audios, rates, n_quantizers=2)
        alone = [codec.encode(a, r, n_quantizers=2) for a, r in zip(audios, rates, strict=True)]
        for a, b in zip(together, alone, strict=True):
            assert np.array_equal(a.codes, b.codes)
            assert (a.n_samples, a.sampling_rate, a.flat) == (b.n_samples, b.sampling_rate, b.flat)
        for a, b in zip(codec.decode_batch(together), map(codec.decode, alone), strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() < 1e-5


def test_batches_of_mixed_bitrates_and_nothing(codec):
    audios = [tone(2000), tone(2000, 2), tone(1990)]
    together = codec.encode_batch(audios, 16000, bitrate_kbps=1.2)
    assert [e.n_codebooks for e in together] == [4, 2, 4]
    for one, audio in zip(together, audios, strict=True):
        assert np.array_equal(one.codes, codec.encode(audio, 16000, bitrate_kbps=1.2).codes)
    assert [a.shape for a in codec.decode_batch(together)] == [a.shape for a in audios]
    assert codec.encode_batch([], 16000) == []
    with pytest.raises(AudioError, match="one for each"):
        codec.encode_batch(audios, [16000])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_in_chunks_as_whole(codecs, name, frames):
    codec = codecs[name]
    engine = TorchEngine(codec.engine.model.double())
    try:
        rate = codec.sampling_rate
        chunked = Codec(engine, codec.model, chunk_seconds=frames / codec.model.frames_per_second)
        whole = Codec(engine, codec.model, chunk_seconds=1e9)
        audio = tone(whole.model.hop_length * 61 + 17, None, rate)
        encoded = whole.encode(audio, rate)
        assert np.array_equal(chunked.encode(audio, rate).codes, encoded.codes)
        assert np.abs(chunked.decode(encoded) - whole.decode(encoded)).max() < 1e-6
    finally:
        engine.model.float()
