"""MP3, with everything that can occur between its frames."""

import io
import struct

import numpy as np
import pytest
from recordings import ID3, RATE, correlation, encoded, mp3, patched, piped, read, tone, warned

from dacodec import audio
from dacodec.audio import mpeg

pytestmark = pytest.mark.usefixtures("no_warning_passes")


def frames_of(data):
    return list(mpeg.Frames(audio.reading.Source(io.BytesIO(data))))


def without_xing(data):
    return b"".join(frame for header, frame in frames_of(data) if not mpeg.xing_header(header, frame))


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 8000])
@pytest.mark.parametrize("n_samples", [1, 1000, 44100, 100000])
def test_mp3_has_as_many_samples_as_went_in(rate, n_samples):
    samples = tone(n_samples / rate, rate)
    file = io.BytesIO()
    audio.write(file, samples, rate, format="MP3")  # LAME, by libsndfile
    # FFmpeg counts the padding of a single sample wrong.
    for data in (file.getvalue(), *([mp3(samples, rate)] if n_samples > 1 else [])):
        result = read(data)
        assert (result.samples.shape, result.sampling_rate) == ((1, n_samples), rate)
        assert n_samples < 1000 or correlation(result.samples, samples) > 0.99
        np.testing.assert_array_equal(piped(data).samples, result.samples)


def test_mp3_of_variable_bitrate_without_a_header():
    """libsndfile stops at the length that it estimates from the first frames."""
    samples = np.concatenate(
        [np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2 * RATE)), np.zeros((1, 18 * RATE))], 1
    )
    data = without_xing(encoded(samples.astype(np.float32), RATE, "libmp3lame", "mp3"))
    frames = len(frames_of(data))
    assert read(data).samples.shape == (1, 1152 * frames)
    assert 1152 * frames >= samples.shape[1]


def test_joined_mp3s():
    first, second = tone(1), tone(1.5, hz=1000)
    data = mp3(first) + mp3(second)
    result = read(data).samples
    assert result.shape == (1, first.shape[1] + second.shape[1])  # no gap
    assert correlation(result[:, : first.shape[1]], first) > 0.99
    assert correlation(result[:, first.shape[1] :], second) > 0.99
    bare = without_xing(data)
    assert read(bare).samples.shape == (1, 1152 * len(frames_of(bare)))


def test_joined_mp3s_that_differ():
    data = mp3(tone(1)) + mp3(tone(1, 48000, channels=2), 48000)
    with warned(r"changes from 44100 Hz and 1 channel\(s\) to 48000 Hz and 2"):
        result = read(data)
    assert result.samples.shape == (1, 2 * RATE)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_mp3_of_one_or_two_frames(n_frames):
    data = b"".join(frame for _, frame in frames_of(without_xing(mp3()))[:n_frames])
    assert read(data).samples.shape == (1, 1152 * n_frames)


APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + 40, 1, 0xA0000000) + bytes(40)
APE += b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + 40, 1, 0x80000000)
TAG = b"TAG" + bytes(125)


@pytest.mark.parametrize(
    "tag", [ID3, APE, TAG, b"LYRICSBEGIN" + b"x" * 77 + b"LYRICS200"], ids=["ID3", "APE", "TAG", "lyrics"]
)
@pytest.mark.parametrize("where", ["before", "within", "after"])
def test_mp3_with_tags_anywhere(tag, where):
    data = without_xing(mp3())
    expected = read(data).samples
    at = {"before": 0, "within": sum(len(f) for _, f in frames_of(data)[:20]), "after": len(data)}[where]
    np.testing.assert_array_equal(read(data[:at] + tag + data[at:]).samples, expected)


def test_mp3_with_rubbish():
    data = without_xing(mp3())
    expected = read(data).samples
    rubbish = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    np.testing.assert_array_equal(read(rubbish + data).samples, expected)
    at = sum(len(frame) for _, frame in frames_of(data)[:20])
    with warned("3000 bytes of something else between its frames"):
        np.testing.assert_array_equal(read(data[:at] + rubbish + data[at:]).samples, expected)


def test_mp3_whose_header_counts_other_frames():
    data = mp3()
    at = data.index(b"Xing" if b"Xing" in data else b"Info") + 8
    n_frames = struct.unpack_from(">I", data, at)[0]
    raw = (len(frames_of(data)) - 1) * 1152
    with warned(f"counts 10 frames, there are {n_frames}; all are read"):
        result = read(patched(data, at, struct.pack(">I", 10)))
    assert tone(2).shape[1] <= result.samples.shape[1] <= raw
    with warned(f"counts {2 * n_frames} frames, there are {n_frames}"):
        read(patched(data, at, struct.pack(">I", 2 * n_frames)))


def test_m4a_that_is_called_mp3(tmp_path):
    data = encoded(tone(2), RATE, "aac", "ipod")
    (tmp_path / "x.mp3").write_bytes(data)
    result = audio.read(tmp_path / "x.mp3")
    assert result.samples.shape == tone(2).shape
    assert correlation(result.samples, tone(2)) > 0.99
