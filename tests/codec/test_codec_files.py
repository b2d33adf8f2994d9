"""Files and pipes of any length: the same as arrays, in constant memory."""

import io
import os
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from models import SHAPES, save_model

from dacodec import Codec, Encoded
from dacodec.audio import AudioReader, AudioWriter, PcmReader, PcmWriter, read, reading, resample, write
from dacodec.container import Reader, Writer
from dacodec.encoded import Summary
from dacodec.engine import TorchEngine
from dacodec.errors import AudioError, OutputError

CLIPS = Path(__file__).parents[1] / "data" / "clips"
SPEECH = CLIPS / "speech_en_cards_16k.flac"


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    """Chunks of an eighth of a second, so that short clips have many."""
    codecs = {
        name: Codec.from_pretrained(save_model(tmp_path_factory.mktemp(name), **shape))
        for name, shape in SHAPES.items()
    }
    for codec in codecs.values():
        codec.chunk_seconds = 0.125
    return codecs


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    """A second of a real stereo recording."""
    audio = read(CLIPS / "music_guitar_em9_44k_st.flac")
    path = tmp_path_factory.mktemp("clips") / "stereo.flac"
    write(path, audio.samples[:, 22050:66150], audio.sampling_rate)
    return path


@pytest.fixture
def codec(codecs):
    return codecs["16khz"]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("loudness", [None, -20.0])
def test_a_file_is_coded_as_its_samples_are(codecs, name, loudness, stereo, tmp_path):
    codec, audio = codecs[name], read(stereo)
    codec.encode_file(stereo, tmp_path / "x.dacz", loudness_lufs=loudness)
    in_memory = codec.encode(audio.samples, audio.sampling_rate, loudness_lufs=loudness)
    loaded = Encoded.load(tmp_path / "x.dacz")
    np.testing.assert_array_equal(loaded.codes, in_memory.codes)
    assert (loaded.gain, loaded.n_samples) == (in_memory.gain, in_memory.n_samples)
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav", subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "x.wav").samples, codec.decode(loaded), atol=1e-6)


@pytest.mark.parametrize("rate", [16000, 11025, 44100, 47999])
def test_a_part_has_the_samples_that_it_has_in_the_whole(codec, rate, stereo, tmp_path):
    audio = resample(read(stereo).samples[:1], 44100, rate)
    codec.encode(audio, rate).save(tmp_path / "x.dacz")
    whole = codec.decode(Encoded.load(tmp_path / "x.dacz"))
    length = whole.shape[1] / rate
    for start, duration in [
        (0, 0.2),
        (0.3, 0.4),
        (0.6, 0.01),
        (0.7, None),
        (length - 0.01, 9),
        (0.8, 1 / rate),
    ]:
        name = tmp_path / f"{start}.wav"
        codec.decode_file(
            tmp_path / "x.dacz",
            name,
            subtype="FLOAT",
            start_seconds=start,
            duration_seconds=duration,
            overwrite=True,
        )
        first = round(start * rate)
        expected = whole[:, first : None if duration is None else first + round(duration * rate)]
        made = read(name).samples
        assert made.shape == expected.shape
        assert np.linalg.norm(made - expected) <= 1e-5 * np.linalg.norm(whole)


def test_a_part_decodes_no_more_than_it_needs(codec, stereo, tmp_path, monkeypatch):
    codec.encode_file(stereo, tmp_path / "x.dacz")
    decoded = []
    run = codec.engine.decode
    monkeypatch.setattr(
        codec.engine, "decode", lambda codes, *a: decoded.append(codes.shape[2]) or run(codes, *a)
    )
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav", start_seconds=0.4, duration_seconds=0.1)
    halo, hop = codec.geometry.decoder_halo, codec.model.hop_length
    # Chunks overlap by their halos; from start to end there are at most these frames, and some for resampling.
    n_chunks = len(decoded)
    assert sum(decoded) - (n_chunks - 1) * 2 * halo <= 0.1 * 16000 / hop + 2 * halo + 5


def test_part_of_the_input(codec, tmp_path):
    audio = read(SPEECH).samples
    summary = codec.encode_file(SPEECH, tmp_path / "x.dacz", start_seconds=0.5, duration_seconds=0.75)
    assert summary.n_samples == 12000
    expected = codec.encode(audio[:, 8000:20000], 16000)
    np.testing.assert_array_equal(Encoded.load(tmp_path / "x.dacz").codes, expected.codes)


@pytest.mark.parametrize(("start", "duration"), [(1e6, None), (-1, None), (0, 0), (np.nan, None)])
def test_no_such_part(codec, start, duration, tmp_path):
    codec.encode(np.zeros(1000), 16000).save(tmp_path / "in.dacz")
    for run in (
        lambda: codec.encode_file(SPEECH, tmp_path / "x", start_seconds=start, duration_seconds=duration),
        lambda: codec.decode_file(
            tmp_path / "in.dacz", tmp_path / "x", start_seconds=start, duration_seconds=duration
        ),
    ):
        with pytest.raises(AudioError):
            run()
    assert [path.name for path in tmp_path.iterdir()] == ["in.dacz"]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("known", [True, False])
def test_damage_is_concealed_as_live(codecs, name, known, stereo):
    """The first packet is damaged, one in the middle, and the end is cut off."""
    codec, audio = codecs[name], read(stereo)
    encoded = codec.encode(audio.samples, audio.sampling_rate, mid_side=True, loudness_lufs=-20)
    header = replace(encoded.header(), packet_frames=4, n_samples=encoded.n_samples if known else None)
    data = damaged_twice_and_cut(header, encoded)
    model = codec.engine.model
    try:
        exact = Codec(TorchEngine(model.double()), codec.model, codec.chunk_seconds)
        live = concealed_live(exact, data)
        reader = Reader(io.BytesIO(data), conceal=True)
        files = np.concatenate(list(exact.decode_stream(reader)), axis=1)
    finally:
        model.float()
    assert len(reader.damages) == 3
    assert (
        0 <= files.shape[1] - live.shape[1] <= 200
    )  # odd strides lose samples, which the file still accounts for
    np.testing.assert_allclose(files[:, : live.shape[1]], live, rtol=0, atol=1e-6)


def damaged_twice_and_cut(header, encoded):
    file = io.BytesIO()
    with Writer(file, header) as writer:
        writer.write(encoded.codes)
        writer.close(encoded.n_samples)
    data = bytearray(file.getvalue())
    size = len(header.to_bytes())
    for at in (size + 20, size + (len(data) - size) // 2):
        data[at] ^= 0xFF
    return bytes(data[: -(len(data) - size) // 4])


def concealed_live(codec, data):
    reader, state, parts = Reader(io.BytesIO(data), conceal=True), None, []
    decoder = codec.stream_decoder(reader.header.sampling_rate)
    for packet in reader:
        pushed, state = decoder.push(packet.codes, state, np.full(packet.n_frames, packet.is_lost))
        parts.append(pushed)
    mid, side = np.concatenate([*parts, decoder.flush(state, reader.n_samples)], axis=1)
    return np.stack([mid + side, mid - side]) / np.float32(reader.header.gain)


def test_an_end_that_tells_of_too_few_samples(codec):
    """When damage is skipped, audio that was already given out stays."""
    encoded = codec.encode(np.zeros(16000), 16000)
    file = io.BytesIO()
    with Writer(file, replace(encoded.header(), n_samples=None)) as writer:
        writer.write(encoded.codes)
        writer.close(1)
    file.seek(0)
    audio = np.concatenate(list(codec.decode_stream(Reader(file, conceal=True))), axis=1)
    assert audio.shape[1] == codec.model.hop_length * (encoded.n_frames - 2)


@pytest.mark.parametrize("rate", [16000, 44100, 12345])
@pytest.mark.parametrize("n_samples", [1, 319, 320, 50001])
def test_pipes_of_unknown_length(codec, rate, n_samples):
    samples = (0.3 * np.sin(0.05 * np.arange(n_samples)))[None].astype(np.float32)
    coded = io.BytesIO()
    source = io.BytesIO(samples.astype("<f4").tobytes())
    summary = codec.encode_stream(PcmReader(source, rate, 1, "f32le"), coded)
    assert summary.n_samples == n_samples
    coded.seek(0)
    reader = Reader(coded)
    assert reader.header.n_samples is None
    expected = codec.encode(samples, rate)
    decoded = np.concatenate(list(codec.decode_stream(reader)), axis=1)
    np.testing.assert_allclose(decoded, codec.decode(expected), atol=1e-6)


def test_wav_through_real_pipes(codec):
    """Both ends are pipes: nothing can seek."""
    ends = [os.pipe(), os.pipe()]
    (from_source, to_coder), (from_coder, to_sink) = [
        (os.fdopen(r, "rb"), os.fdopen(w, "wb")) for r, w in ends
    ]
    audio = read(SPEECH)

    def produce():
        with to_coder, PcmWriter.wav(to_coder, audio.sampling_rate, 1) as writer:
            for start in range(0, audio.samples.shape[1], 1000):
                writer.write(audio.samples[:, start : start + 1000])

    def code():
        with from_source, to_sink, AudioReader(from_source) as reader:
            codec.encode_stream(reader, to_sink)

    threads = [threading.Thread(target=run) for run in (produce, code)]
    for thread in threads:
        thread.start()
    with from_coder:
        reader = Reader(from_coder)
        codes = reader.read_codes()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(codes, codec.encode(audio.samples, 16000).codes)


def test_flac_through_a_pipe(codec):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source, os.fdopen(write_end, "wb") as sink:
        writer = threading.Thread(target=lambda: (sink.write(SPEECH.read_bytes()), sink.close()))
        writer.start()
        with AudioReader(source) as reader:
            piped = np.concatenate(list(reader.blocks()), axis=1)
        writer.join()
    np.testing.assert_array_equal(piped, read(SPEECH).samples)


def test_loudness_of_a_pipe_says_what_to_do(codec, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="save it to a file"):
        codec.encode_file(tmp_path / "pipe.wav", tmp_path / "x.dacz", loudness_lufs=-16)


def test_a_wav_file_for_a_pipe_is_read_by_others():
    samples = np.array([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]], np.float32)
    for n_samples in (3, None):
        file = io.BytesIO()
        with PcmWriter.wav(file, 22050, 2, n_samples) as writer:
            writer.write(samples)
        file.seek(0)
        decoded, rate = soundfile.read(file)
        assert rate == 22050
        np.testing.assert_allclose(decoded.T, samples.clip(-1, 1), atol=2**-15)


def test_progress_and_how_to_stop(codec, stereo, tmp_path):
    told = []
    codec.encode_file(stereo, tmp_path / "x.dacz", progress=lambda *done: told.append(done))
    duration = soundfile.info(stereo).duration
    assert told == sorted(told)
    assert told[-1] == (duration, duration)

    class Enough(Exception):
        pass

    def stop(seconds, total):
        raise Enough

    for run in (codec.encode_file, codec.decode_file):
        source = stereo if run == codec.encode_file else tmp_path / "x.dacz"
        with pytest.raises(Enough):
            run(source, tmp_path / "y", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["x.dacz"]


@pytest.mark.parametrize("rate", [16000, 22050])
def test_files_are_read_and_written_beside_coding_with_the_same_bytes(
    codec, rate, stereo, tmp_path, monkeypatch
):
    """Each stage in its own thread, with progress reported in the caller's."""
    write(tmp_path / "x.wav", resample(read(stereo).samples, 44100, rate), rate, subtype="FLOAT")
    with AudioReader(tmp_path / "x.wav") as reader, (tmp_path / "one.dacz").open("wb") as file:
        codec.encode_stream(reader, file)
    with (tmp_path / "one.dacz").open("rb") as file:
        decoded = np.concatenate(list(codec.decode_stream(Reader(file))), axis=1)
    threads = {}

    def note(owner, name):
        run = getattr(owner, name)

        def noted(*args, **kwargs):
            threads.setdefault(name, set()).add(threading.get_ident())
            return run(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for owner, name in [
        (reading, "check_finite"),
        (Writer, "write"),
        (Reader, "__next__"),
        (AudioWriter, "write"),
        (codec.engine, "push_audio"),
        (codec.engine, "push_codes"),
    ]:
        note(owner, name)
    told = []
    codec.encode_file(
        tmp_path / "x.wav", tmp_path / "x.dacz", progress=lambda *_: told.append(threading.get_ident())
    )
    readers, own = set(threads["check_finite"]), threading.get_ident()
    threads.pop("__next__", None)  # the thread that read the summary
    codec.decode_file(
        tmp_path / "x.dacz",
        tmp_path / "y.wav",
        subtype="FLOAT",
        progress=lambda *_: told.append(threading.get_ident()),
    )
    assert (tmp_path / "x.dacz").read_bytes() == (tmp_path / "one.dacz").read_bytes()
    assert read(tmp_path / "y.wav").samples.tobytes() == decoded.tobytes()
    assert set(told) == {own}
    assert threads["push_audio"] == threads["push_codes"] == {own}
    assert own not in readers | threads["write"]
    assert len(readers) == 1
    assert len(threads["__next__"] - {own}) == 1


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_what_fails_in_the_other_threads_fails_here_and_leaves_nothing(
    codec, stereo, tmp_path, cut, monkeypatch
):
    before = threading.active_count()
    data = stereo.read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: int(cut * len(data))])
    with pytest.raises(AudioError, match="damaged"):
        codec.encode_file(tmp_path / "cut.flac", tmp_path / "x.dacz")
    codec.encode_file(stereo, tmp_path / "x.dacz")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AudioWriter, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        codec.decode_file(tmp_path / "x.dacz", tmp_path / "y.wav")
    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        codec.encode_file(stereo, tmp_path / "y.dacz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.flac", "x.dacz"]
    assert threading.active_count() == before


def test_a_named_pipe_is_read_as_it_is(codec, stereo, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(stereo.read_bytes(),))
    thread.start()
    codec.encode_file(tmp_path / "pipe", tmp_path / "x.dacz")
    thread.join()
    codec.encode_file(stereo, tmp_path / "y.dacz")
    np.testing.assert_array_equal(
        Encoded.load(tmp_path / "x.dacz").codes, Encoded.load(tmp_path / "y.dacz").codes
    )


def test_summary_is_the_files(codec, tmp_path):
    summary = codec.encode_file(SPEECH, tmp_path / "x.dacz", n_quantizers=5)
    assert Summary.read(tmp_path / "x.dacz") == summary


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "AIFF"])
def test_a_full_disk_is_an_error_at_once_and_not_a_crash(format, capfd):
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > 30000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    noise = np.random.default_rng(0).uniform(-1, 1, (1, 20000)).astype(np.float32)

    def fill():
        with AudioWriter(Full(), 16000, 1, format=format) as writer:
            for _ in range(20):
                writer.write(noise)

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert capfd.readouterr() == ("", "")


def test_existing_outputs_are_kept(codec, tmp_path):
    (tmp_path / "x.dacz").write_bytes(b"mine")
    with pytest.raises(OutputError):
        codec.encode_file(SPEECH, tmp_path / "x.dacz")
    assert (tmp_path / "x.dacz").read_bytes() == b"mine"


def test_memory_does_not_grow_with_length(codecs, tmp_path):
    """NumPy's memory; for PyTorch's, on real recordings of hours, see bench/memory.py."""
    codec = codecs["odd"]
    peaks = []
    for seconds in (10, 40):
        path = tmp_path / f"{seconds}.wav"
        with path.open("wb") as file, AudioWriter(file, 8000, 1) as writer:
            for _ in range(seconds):
                writer.write(np.random.default_rng(0).uniform(-1, 1, (1, 8000)).astype(np.float32))
        tracemalloc.start()
        codec.encode_file(path, tmp_path / f"{seconds}.dacz", loudness_lufs=-16)
        codec.decode_file(tmp_path / f"{seconds}.dacz", tmp_path / f"{seconds}.out.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # 30 s more would be 960000 bytes of samples
