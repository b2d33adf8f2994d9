"""Reading and writing files: bit for bit if the format allows it, with a clear message for a bad file."""

import hashlib
import io
import os
import struct
import sys
import threading
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacodec import audio
from dacodec.errors import AudioError

CLIPS = Path(__file__).parents[1] / "data" / "clips"
RATE = 16000
TONE = (0.5 * np.sin(0.1 * np.arange(RATE))).astype(np.float32)[None]


def encoded(samples=TONE, rate=RATE, format="WAV", subtype=None):
    file = io.BytesIO()
    audio.write(file, samples, rate, subtype, format)
    return file.getvalue()


def patched(data, offset, value):
    return data[:offset] + value + data[offset + len(value) :]


def flac_claiming(n_samples):
    """A FLAC file with another sample count in its header: 36 bits at the end of the 8 bytes at offset 18."""
    data = encoded(format="FLAC")
    field = int.from_bytes(data[18:26], "big")
    assert field % 2**36 == RATE
    return patched(data, 18, (field - RATE + n_samples).to_bytes(8, "big"))


# Reading


@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.flac")), ids=lambda path: path.stem)
def test_reads_flac_as_its_checksum_says(path):
    """The header of a FLAC file holds the MD5 of the encoder's input."""
    header = path.read_bytes()[:42]
    packed = int.from_bytes(header[18:26], "big")
    n_samples, bits, channels = packed % 2**36, (packed >> 36) % 32 + 1, (packed >> 41) % 8 + 1
    samples, rate = audio.read(path)
    assert samples.dtype == np.float32
    assert (samples.shape, rate) == ((channels, n_samples), packed >> 44)
    integers = samples.T.astype(np.float64) * 2 ** (bits - 1)
    np.testing.assert_array_equal(integers, np.round(integers))
    little_endian = integers.astype("<i4")[..., None].view(np.uint8)[..., : bits // 8]
    assert hashlib.md5(little_endian.tobytes()).digest() == header[26:42]


def test_reads_what_the_wave_module_wrote(tmp_path):
    pcm = np.random.default_rng(1).integers(-32768, 32768, (1000, 2)).astype("<i2")
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    samples, rate = audio.read(tmp_path / "x.wav")
    assert rate == 44100
    np.testing.assert_array_equal(samples, pcm.T / np.float32(32768))


def test_file_objects():
    data = encoded()
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    np.testing.assert_array_equal(audio.read(io.BytesIO(data)).samples, audio.read(file).samples)


def test_pipes():
    reading, writing = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with reading, writing:
        writer = threading.Thread(target=lambda: (audio.write(writing, TONE, RATE), writing.close()))
        writer.start()
        samples, rate = audio.read(reading)
        writer.join()
    assert rate == RATE
    np.testing.assert_allclose(samples, TONE, atol=2**-16)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipes(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    writer = threading.Thread(target=lambda: (tmp_path / "x.wav").write_bytes(encoded()))
    writer.start()
    samples, _ = audio.read(tmp_path / "x.wav")
    writer.join()
    assert samples.shape == TONE.shape


@pytest.mark.parametrize(
    "data",
    [
        patched(encoded(), 40, b"\xff\xff\xff\xff"),  # as written by programs that write to a pipe
        patched(patched(encoded(), 4, b"\xff\xff\xff\xff"), 40, b"\x00\xff\xff\x7f"),
        flac_claiming(0),
    ],
    ids=["wav", "wav-2g", "flac"],
)
def test_headers_that_do_not_know_the_length(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    samples, _ = audio.read(tmp_path / "x")
    np.testing.assert_allclose(samples, TONE, atol=2**-16)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_names_that_are_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    audio.write(path, TONE, RATE)
    assert audio.read(path).samples.shape == TONE.shape
    with pytest.raises(AudioError, match="caf\N{REPLACEMENT CHARACTER}") as caught:
        audio.read(path.with_suffix(".flac"))
    assert str(caught.value).encode()  # can be printed


NAN = TONE.copy()
NAN[0, 123] = np.nan


def float_wav(samples):
    file = io.BytesIO()
    soundfile.write(file, samples.T, RATE, "FLOAT", format="WAV")
    return file.getvalue()


BAD_FILES = {
    "empty": (b"", "it is empty"),
    "text": (b"this is a text, not audio\n" * 40, "not a known audio format"),
    "no-samples": (encoded()[:40] + bytes(4), "holds no samples"),
    "cut-header": (encoded()[:30], "it has no data chunk"),
    "cut-wav": (encoded()[:10000], "claims 32000 bytes of audio, the file holds 9956"),
    "header-only": (encoded()[:44], "claims 32000 bytes of audio, the file holds 0"),
    "cut-aiff": (encoded(format="AIFF")[:10000], "get a complete copy"),
    "cut-flac": (encoded(format="FLAC")[:3000], "it is damaged: 1 packet.* get a complete copy"),
    "claims-more": (flac_claiming(RATE + 1), "claims 16001 samples, the file holds 16000"),
    "claims-4G": (flac_claiming(2**36 - 1), "claims 68719476735 samples"),
    "0-hz": (patched(encoded(), 24, bytes(4)), "from 1 to 768000, got 0"),
    "4-ghz": (patched(encoded(), 24, b"\xff\xff\xff\x7f"), "from 1 to 768000, got 2147483647"),
    "0-channels": (patched(encoded(), 22, bytes(2)), "0 channels: there must be at least one"),
    "300-channels": (
        patched(patched(encoded(), 22, struct.pack("<H", 300)), 32, struct.pack("<H", 600)),
        "300 channels, more than 255",
    ),
    "nan": (float_wav(NAN), "nan at sample 123 of channel 0"),
    "inf": (float_wav(np.full((2, 3), np.inf)), "inf at sample 0 of channel 0"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(tmp_path, data, message):
    import av  # noqa: F401  # so that loading it does not count as memory

    path = tmp_path / "x.wav"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(AudioError, match=message) as caught:
        audio.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert "\n" not in str(caught.value)
    assert peak < 8e6  # whatever the header claims
    with pytest.raises(AudioError, match=f"cannot read the given audio file: .*{message}"):
        audio.read(io.BytesIO(data))


def test_bad_paths(tmp_path):
    with pytest.raises(AudioError, match="there is no such file"):
        audio.read(tmp_path / "x.wav")
    (tmp_path / "x.wav").mkdir()
    with pytest.raises(AudioError, match="it is a folder"):
        audio.read(tmp_path / "x.wav")
    (tmp_path / "x.raw").write_bytes(bytes(100))
    with pytest.raises(AudioError, match="raw samples have no header with their rate"):
        audio.read(tmp_path / "x.raw")
    for name in ("x" * 300, "a\0b", "two\nlines"):
        with pytest.raises(AudioError, match=r"^cannot read [^\n]*$"):
            audio.read(tmp_path / name)


def test_unreadable(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.wav").write_bytes(encoded())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"x\.wav: Permission denied"):
        audio.read(tmp_path / "x.wav")


# Reading with PyAV


def av_encoded(samples, rate, codec, format):
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


@pytest.fixture(scope="module")
def guitar():
    samples, rate = audio.read(CLIPS / "music_guitar_em9_44k_st.flac")
    return audio.resample(samples[:, : 2 * rate], rate, 48000)


@pytest.mark.parametrize(("codec", "format"), [("aac", "mp4"), ("libopus", "webm")])
def test_reads_through_pyav(tmp_path, guitar, codec, format):
    data = av_encoded(guitar, 48000, codec, format)
    (tmp_path / "x").write_bytes(data)
    later = io.BytesIO(b"before" + data)
    later.seek(6)
    for file in (tmp_path / "x", io.BytesIO(data), later):
        samples, rate = audio.read(file)
        assert rate == 48000
        assert samples.shape == guitar.shape  # delay and padding of the codec are removed
        assert np.corrcoef(samples.ravel(), guitar.ravel())[0, 1] > 0.99


def test_opus_is_what_libsndfile_makes_of_it(tmp_path, guitar):
    (tmp_path / "x.opus").write_bytes(av_encoded(guitar, 48000, "libopus", "ogg"))
    theirs, rate = soundfile.read(tmp_path / "x.opus", dtype="float32", always_2d=True)
    ours = audio.read(tmp_path / "x.opus")
    assert ours.sampling_rate == rate == 48000
    np.testing.assert_allclose(ours.samples, theirs.T, atol=1e-3)


def test_playlists_are_not_followed(tmp_path):
    import av

    (tmp_path / "secret.mp3").write_bytes(encoded(format="MP3"))
    path = tmp_path / "x.wav"
    path.write_text("ffconcat version 1.0\nfile secret.mp3\n")
    with path.open("rb") as file, av.open(file) as container:
        assert container.streams.audio  # FFmpeg itself would
    with pytest.raises(AudioError, match="not a known audio format"):
        audio.read(path)


# Writing


@pytest.mark.parametrize(("name", "bits"), [("x.wav", 16), ("x.flac", 16), ("x.WAV", 24), ("x.aif", 24)])
def test_pcm_comes_back_bit_for_bit(tmp_path, name, bits):
    top = 2 ** (bits - 1)
    integers = np.random.default_rng(2).integers(-top, top, (2, 70000))  # more than one write takes
    integers[:, :3] = [-top, 0, top - 1]
    samples = (integers / top).astype(np.float32)
    audio.write(tmp_path / name, samples, 44100, None if bits == 16 else f"PCM_{bits}")
    result = audio.read(tmp_path / name)
    assert result.sampling_rate == 44100
    np.testing.assert_array_equal(result.samples, samples)
    assert soundfile.info(tmp_path / name).subtype == f"PCM_{bits}"


def test_the_wave_module_reads_what_we_wrote():
    with wave.open(io.BytesIO(encoded(np.array([[0.5, -1], [0, 0.25]]), 22050))) as file:
        assert file.getparams()[:4] == (2, 2, 22050, 2)
        assert struct.unpack("<4h", file.readframes(2)) == (16384, 0, -32768, 8192)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "AIFF"])
def test_rounds_to_the_nearest(format):
    steps = np.array([0.4, 0.6, -0.4, -0.6, 100.4, -100.6, 32766.6])
    result = audio.read(io.BytesIO(encoded(steps / 32768, format=format))).samples * 32768
    np.testing.assert_array_equal(result, [np.rint(steps)])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_clips_and_does_not_wrap(subtype):
    result = audio.read(io.BytesIO(encoded([1.0, 1.5, 1e6, -1.0, -1.5], subtype=subtype))).samples
    np.testing.assert_allclose(result, [[1, 1, 1, -1, -1]], atol=2**-7 if subtype == "PCM_U8" else 2**-15)


def test_float_files_hold_what_they_got():
    samples = np.array([[0.1, 1.5, -3e4]], np.float32)
    np.testing.assert_array_equal(audio.read(io.BytesIO(encoded(samples, subtype="FLOAT"))).samples, samples)


@pytest.mark.parametrize("name", ["x.ogg", "x.opus", "x.mp3", "x.oga"])
def test_lossy_formats(tmp_path, name):
    samples = audio.read(CLIPS / "speech_en_austen_16k.flac").samples
    audio.write(tmp_path / name, samples, RATE)
    result, rate = audio.read(tmp_path / name)
    assert rate == RATE
    assert result.shape == samples.shape
    assert np.corrcoef(result[0], samples[0])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("name", "samples", "rate", "subtype", "message"),
    [
        ("x", TONE, RATE, None, "no audio format is called ''"),
        ("x.xyz", TONE, RATE, None, "no audio format is called 'XYZ'"),
        ("x.raw", TONE, RATE, None, "no audio format is called 'RAW'"),
        ("x.wav", TONE, RATE, "VORBIS", "WAV has no subtype 'VORBIS'; it has PCM_16"),
        ("x.opus", TONE, 44100, None, "Opus only supports sample rates .* try .wav"),
        ("x.flac", np.zeros((9, 10)), RATE, None, "9 channels"),
        ("no/x.wav", TONE, RATE, None, "no such folder"),
        ("folder.wav", TONE, RATE, None, "it is a folder; name a file"),
        ("x.wav", NAN, RATE, None, "nan at sample 123"),
        ("x.wav", TONE, 0, None, "got 0"),
    ],
)
def test_refuses_to_write(tmp_path, name, samples, rate, subtype, message):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=message) as caught:
        audio.write(tmp_path / name, samples, rate, subtype)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]  # nothing unfinished is left


def test_format_beats_the_suffix(tmp_path):
    audio.write(tmp_path / "x.wav.part", TONE, RATE, format="flac")
    assert (tmp_path / "x.wav.part").read_bytes()[:4] == b"fLaC"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk():
    with pytest.raises(AudioError, match="No space left on device"):
        audio.write("/dev/full", TONE, RATE, format="WAV")
