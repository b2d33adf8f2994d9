"""Recordings as people have them: whole, or with a word. Inputs are made here."""

import contextlib
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dacodec import audio
from dacodec.audio import flac, mpeg, ogg
from dacodec.audio.formats import AUDIO_SUFFIXES, TABLE
from dacodec.errors import AudioError, AudioWarning

CLIPS = Path(__file__).parents[1] / "data" / "clips"
RATE = 44100


@pytest.fixture(autouse=True)
def _no_warning_passes():
    """A warning that a test does not ask for is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def tone(seconds=1.0, rate=RATE, hz=440.0, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * hz * (c + 1) * t) for c in range(channels)]).astype(np.float32)


def pcm(format="WAV", samples=None, rate=RATE, subtype="PCM_16", endian="FILE"):
    file = io.BytesIO()
    soundfile.write(file, (tone() if samples is None else samples).T, rate, subtype, endian, format)
    return file.getvalue()


def encoded(samples, rate, codec, format, options=None):
    """By FFmpeg: samples [C, T]."""
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")  # a file, which the index can be moved in
        _encode(path, samples, rate, codec, format, options or {}, layout)
        return path.read_bytes()


def _encode(path, samples, rate, codec, format, options, layout):
    with av.open(str(path), "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            stream.bit_rate = 128000
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def mp3(samples=None, rate=RATE):
    return encoded(tone(2) if samples is None else samples, rate, "libmp3lame", "mp3")


def vorbis(samples, rate):
    file = io.BytesIO()
    audio.write(file, samples, rate, format="OGA")
    return file.getvalue()


def read(data, **options):
    return audio.read(io.BytesIO(data), **options)


def piped(data):
    """What is read through a pipe that gives a little at a time."""
    read_end, write_end = os.pipe()

    def write():
        with os.fdopen(write_end, "wb", buffering=0) as sink, contextlib.suppress(BrokenPipeError):
            for start in range(0, len(data), 5000):
                sink.write(data[start : start + 5000])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with os.fdopen(read_end, "rb") as source:
            return audio.read(source)
    finally:
        writer.join()


@contextlib.contextmanager
def warned(match):
    """One of the warnings inside is so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = [str(w.message) for w in caught if issubclass(w.category, AudioWarning)]
    assert any(re.search(match, line) for line in said), said


def correlation(a, b):
    length = min(a.shape[1], b.shape[1])
    return np.corrcoef(a[0, :length], b[0, :length])[0, 1]


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


# Plain samples: headers that were never filled in, or are wrong

SUBTYPES = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_24"),
    ("AIFF", "PCM_S8"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AIFF", "PCM_32"),
    ("AIFF", "FLOAT"),
    ("AIFF", "DOUBLE"),
    ("AIFF", "ULAW"),
    ("AU", "PCM_16"),
    ("AU", "PCM_24"),
    ("AU", "FLOAT"),
    ("AU", "ALAW"),
    ("CAF", "PCM_S8"),
    ("CAF", "PCM_16"),
    ("CAF", "PCM_24"),
    ("CAF", "DOUBLE"),
    ("CAF", "ULAW"),
]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("format", "subtype", "endian"),
    [
        (*names, endian)
        for names in SUBTYPES
        for endian in ("FILE", "LITTLE", "BIG")
        if soundfile.check_format(*names, endian)
    ],
)
def test_plain_samples_are_libsndfiles_bit_for_bit(format, subtype, endian, channels):
    """Big-endian 24-bit WAV, which FFmpeg reads wrong, among them."""
    samples = np.random.default_rng(0).uniform(-1, 1, (channels, 1001)).astype(np.float32)
    data = pcm(format, samples, 12345, subtype, endian)
    theirs, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    for result in (read(data), piped(data)):
        assert result.sampling_rate == 12345
        np.testing.assert_array_equal(result.samples, theirs.T)


@pytest.mark.parametrize("n_bytes", [5, 6, 7, 8])
def test_integers_of_more_than_32_bits(n_bytes):
    values = [0, 1 << 8 * n_bytes - 2, -(1 << 8 * n_bytes - 1)]
    data = b"".join(value.to_bytes(n_bytes, "little", signed=True) for value in values)
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE,
        0,
        n_bytes,
        8 * n_bytes,
        b"data",
        len(data),
    )
    np.testing.assert_array_equal(read(header + data).samples, [[0, 0.5, -1]])


def size_field(format, data):
    """Where the size of the audio stands, and how it is packed."""
    if format in ("WAV", "RF64"):
        return data.index(b"data") + 4, "<I"
    return {
        "W64": (data.index(b"data\xf3\xac") + 16 if b"data\xf3\xac" in data else 0, "<Q"),
        "AIFF": (data.find(b"SSND") + 4, ">I"),
        "CAF": (data.find(b"data") + 4, ">q"),
        "AU": (8, ">I"),
    }[format]


def with_size(format, size):
    data = pcm(format)
    at, packing = size_field(format, data)
    if format == "RF64":  # 64 bits, in a chunk of their own
        data = patched(data, at, b"\xff\xff\xff\xff")
        at, packing = data.index(b"ds64") + 16, "<Q"
    return patched(data, at, struct.pack(packing, size))


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "CAF", "AU"])
def test_a_size_of_0_with_audio_behind_it(format):
    data = with_size(format, 0)
    for result in (read(data), piped(data)):
        np.testing.assert_array_equal(result.samples, read(pcm(format)).samples)


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU"])
def test_a_size_of_all_ones(format):
    np.testing.assert_array_equal(read(with_size(format, 0xFFFFFFFF)).samples, read(pcm()).samples)
    np.testing.assert_array_equal(piped(with_size(format, 0xFFFFFFFF)).samples, read(pcm()).samples)


def test_other_sizes_that_say_nothing():
    """-1 in CAF, and RF64 and W64 that were never finished."""
    for data in (with_size("CAF", -1), with_size("RF64", (1 << 64) - 1), with_size("W64", (1 << 63) + 24)):
        np.testing.assert_array_equal(read(data).samples, read(pcm()).samples)


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "CAF", "AU"])
def test_a_size_beyond_the_end(format):
    data = with_size(format, 100000)
    with pytest.raises(
        AudioError, match=r"cut off; get a complete copy, or take .* damaged='keep' \(--damaged keep\)"
    ):
        read(data)
    with warned("cut off"):
        kept = read(data, damaged="keep")
    np.testing.assert_array_equal(kept.samples, read(pcm(format)).samples)
    (damage,) = kept.damage
    assert damage.seconds == pytest.approx(1)
    assert 100000 // 2 - RATE - 50 < damage.missing < 100000 // 2 - RATE + 1


@pytest.mark.parametrize("format", ["WAV", "CAF", "W64"])
def test_more_than_is_claimed(format):
    whole = read(pcm(format)).samples
    with warned("more follow; all are read"):
        np.testing.assert_array_equal(read(with_size(format, 20000)).samples, whole)


def chunk(name, body, order="<", pads=True):
    return name + struct.pack(order + "I", len(body)) + body + b"\0" * (len(body) % 2 if pads else 0)


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("body", [b"odd", b"even", b""])
@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF"])
def test_unknown_chunks(format, body, where, pads):
    data = pcm(format)
    if format == "CAF":
        unknown = struct.pack(">4sq", b"uknw", len(body)) + body
    else:
        unknown = chunk(b"uknw", body, "<" if format == "WAV" else ">", pads)
    at = {"WAV": 12, "AIFF": 12, "CAF": 8 + 12 + 32}[format] if where == "before" else len(data)
    for result in (read(data[:at] + unknown + data[at:]), piped(data[:at] + unknown + data[at:])):
        np.testing.assert_array_equal(result.samples, read(data).samples)


def test_an_odd_data_chunk_without_its_padding():
    samples = tone()[:, :4411]
    data = pcm("WAV", samples, subtype="PCM_U8")[: 44 + 4411]
    info = b"LIST" + struct.pack("<I", 4) + b"INFO"
    expected = read(pcm("WAV", samples, subtype="PCM_U8")).samples
    for rest in (b"", info, b"\0" + info):
        np.testing.assert_array_equal(read(data + rest).samples, expected)


def test_no_audio_is_not_what_stands_behind_it():
    with pytest.raises(AudioError, match="it holds no samples"):
        read(pcm()[:40] + bytes(4) + chunk(b"LIST", b"INFO" + bytes(100)))


def test_joined_wav_files():
    first, second = pcm("WAV"), pcm("WAV", tone(0.5, 22050, channels=2), 22050) + chunk(b"LIST", b"INFOodd")
    np.testing.assert_array_equal(read(first + first).samples, np.tile(read(first).samples, 2))
    with warned("it changes to 22050 Hz and 2 channel"):
        result = read(first + second + first)
    assert result.samples.shape == (1, RATE + RATE // 2 + RATE)


def test_ac3_in_wav_is_named():
    data = patched(pcm(), 20, struct.pack("<H", 0x2000))
    with pytest.raises(AudioError, match=r"it holds AC-3 \(format tag 0x2000\), no PCM"):
        read(data)
    real = encoded(tone(1, 48000), 48000, "ac3", "wav")
    assert read(real).samples.shape[1] >= 48000 - 1536  # nobody tells what is delay


# MP3


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
    """libsndfile stops where the first frames made it believe that the end is."""
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


ID3 = b"ID3\4\0\0" + bytes([0, 0, 1, 0]) + b"\xff\xfb\x90\x64" * 32
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


# Ogg


def opus(samples, rate=48000):
    return encoded(samples, rate, "libopus", "ogg")


@pytest.mark.parametrize("n_samples", [1, 1000, 48000, 100001])
def test_opus_and_vorbis_have_as_many_samples_as_went_in(n_samples):
    samples = tone(n_samples / 48000, 48000)
    file = io.BytesIO()
    audio.write(file, samples, 48000, format="OPUS")
    for data in (file.getvalue(), vorbis(samples, 48000)):
        result = read(data)
        assert (result.samples.shape, result.sampling_rate) == ((1, n_samples), 48000)
        assert n_samples < 1000 or correlation(result.samples, samples) > 0.99
        np.testing.assert_array_equal(piped(data).samples, result.samples)


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000])
def test_opus_at_its_own_rate(rate):
    file = io.BytesIO()
    audio.write(file, tone(1, rate), rate, format="OPUS")
    result = read(file.getvalue())
    theirs, their_rate = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    assert result.sampling_rate == their_rate == rate
    assert result.samples.shape == theirs.T.shape == (1, rate)
    assert correlation(result.samples, theirs.T) > 0.99


@pytest.mark.parametrize(
    "make",
    [lambda s: opus(s), lambda s: vorbis(s, 48000), lambda s: encoded(s, 48000, "flac", "ogg")],
    ids=["opus", "vorbis", "flac"],
)
def test_chained_ogg(make):
    first, second = tone(1, 48000), tone(1.5, 48000, hz=1000)
    data = make(first) + make(second)
    for result in (read(data).samples, piped(data).samples):
        assert result.shape == (1, first.shape[1] + second.shape[1])
        assert correlation(result[:, 48000:], second) > 0.99


def test_a_chain_whose_links_differ():
    data = vorbis(tone(1), RATE) + opus(tone(1, 48000, channels=2)) + vorbis(tone(1), RATE)
    with warned("it changes from 44100 Hz and 1 channel.* to 48000 Hz and 2 at 1.00 s"):
        result = read(data)
    assert result.samples.shape == (1, 3 * RATE)
    assert correlation(result.samples[:, 2 * RATE :], tone(1)) > 0.99


def pages_of(data):
    return list(ogg._Pages(audio.reading.Source(io.BytesIO(data))))


def test_ogg_checksums_are_right():
    for page in pages_of(opus(tone(1, 48000))):
        assert ogg.checksum(page.data) == struct.unpack_from("<I", page.data, 22)[0]


@pytest.mark.parametrize("how", ["changed", "lost"])
def test_damaged_ogg(how):
    data = opus(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5 * 48000)).astype(np.float32))
    pages = [page.data for page in pages_of(data)]
    third = pages[3]
    middle = [] if how == "lost" else [patched(third, 500, bytes([third[500] ^ 1]))]
    damaged = b"".join([*pages[:3], *middle, *pages[4:]])
    with pytest.raises(AudioError, match=r"it is damaged: .*--damaged keep"):
        read(damaged)
    with warned("damaged"):
        kept = read(damaged, damaged="keep")
    (damage,) = kept.damage
    assert damage.missing == 5 * 48000 - kept.samples.shape[1] > 10000


def test_ogg_that_is_cut_off():
    data = opus(tone(3, 48000))
    with warned("cut off within its last page"):
        assert read(data[:-50]).samples.shape[1] > 40000


# FLAC


def flac_by_ffmpeg(samples, rate=RATE, bits=16):
    return encoded(samples, rate, "flac", "flac")


def streaminfo(data, n_samples):
    field = int.from_bytes(data[18:26], "big")
    return patched(data, 18, (field & ~((1 << 36) - 1) | n_samples).to_bytes(8, "big"))


def test_flac_whose_header_claims_fewer_samples():
    data = pcm("FLAC")
    with warned(f"claims 39842 samples, there are {RATE}; all are read"):
        result = read(streaminfo(data, 39842))
    np.testing.assert_array_equal(result.samples, read(data).samples)


def flac_frames(data):
    """Everything behind the metadata."""
    at = 4
    while True:
        last, size = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + size
        if last:
            return data[at:]


def renumbered(frames, first_number):
    """Frames with other numbers, and so other checksums: a FLAC stream goes on in another format."""
    found = []
    at = 0
    while at < len(frames):
        following = at + 1
        while following < len(frames):
            following = frames.find(b"\xff\xf8", following)
            if following < 0:
                following = len(frames)
            elif flac._frame(frames, following):
                break
            else:
                following += 1
        found.append(frames[at:following])
        at = following
    return b"".join(_renumbered(frame, first_number + i) for i, frame in enumerate(found))


def _renumbered(frame, number):
    assert frame[4] < 0x80 > number
    extra = {6: 1, 7: 2}.get(frame[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)
    head = frame[:4] + bytes([number]) + frame[5 : 5 + extra]
    crc = 0
    for byte in head:
        crc = flac._CRC8[crc ^ byte]
    body = head + bytes([crc]) + frame[6 + extra : -2]
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
    return body + crc.to_bytes(2, "big")


def changing_flac(*parts):
    """One FLAC file out of several."""
    data, number = parts[0], 0
    result = b""
    for part in parts:
        frames = renumbered(flac_frames(part), number)
        number += -(-(int.from_bytes(part[18:26], "big") % (1 << 36)) // 4096)
        result += frames
    total = sum(int.from_bytes(part[18:26], "big") % (1 << 36) for part in parts)
    head = data[: len(data) - len(flac_frames(data))]
    return streaminfo(head, total) + result


BLOCKS = 4096 * 10  # samples, so that all frames are full


def test_flac_that_changes_its_sampling_rate():
    samples = tone(1, 48000)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples, 48000), pcm("FLAC", samples, 24000))
    with warned("its sampling rate changes from 48000 to 24000 Hz"):
        result = read(data)
    assert (result.samples.shape, result.sampling_rate) == ((1, 3 * BLOCKS), 48000)


def test_flac_that_changes_its_bit_depth():
    """FFmpeg refuses it."""
    samples = tone(1)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples), pcm("FLAC", samples, subtype="PCM_24"))
    expected = [read(pcm("FLAC", samples, subtype=s)).samples for s in ("PCM_16", "PCM_24")]
    np.testing.assert_array_equal(read(data).samples, np.concatenate(expected, 1))


def test_flac_that_changes_its_channels():
    samples = tone(1, channels=2)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples[:1]), pcm("FLAC", samples))
    with warned("it changes from 1 to 2 channels"):
        assert read(data).samples.shape == (1, 2 * BLOCKS)


@pytest.mark.parametrize("bits", [12, 15, 20])
def test_flac_of_other_bits(bits):
    """Made by hand: verbatim subframes."""
    values = np.round(tone(0.1)[0] * 2 ** (bits - 1)).astype(np.int64)
    frames = b""
    for number, start in enumerate(range(0, len(values), 192)):
        block = values[start : start + 192]
        head = bytes([0xFF, 0xF8, 0x69, {12: 0x04, 20: 0x0A}.get(bits, 0x00), number, len(block) - 1])
        written = "".join(f"{int(v) & (1 << bits) - 1:0{bits}b}" for v in block)
        written += "0" * (-len(written) % 8)
        body = head + b"\0" + b"\x02" + int(written, 2).to_bytes(len(written) // 8, "big") + b"\0\0"
        frames += _renumbered(body, number)
    info = struct.pack(">HH6xQ16x", 192, 192, 44100 << 44 | bits - 1 << 36 | len(values))
    data = b"fLaC\x80\0\0\x22" + info + frames
    for result in (read(data), piped(data)):
        np.testing.assert_array_equal(result.samples[0] * 2 ** (bits - 1), values)


def test_flac_without_its_beginning():
    data = pcm("FLAC")
    expected = read(data).samples
    np.testing.assert_array_equal(read(flac_frames(data)).samples, expected)
    rubbish = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    np.testing.assert_array_equal(read(rubbish + data).samples, expected)
    np.testing.assert_array_equal(read(rubbish + flac_frames(data)).samples, expected)


def test_damaged_flac_is_kept():
    data = pcm("FLAC", np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2 * RATE)))
    damaged = patched(data, len(data) // 2, bytes([data[len(data) // 2] ^ 255]))
    with pytest.raises(AudioError, match="damaged"):
        read(damaged)
    with warned("damaged"):
        kept = read(damaged, damaged="keep")
    assert kept.damage[0].missing == 2 * RATE - kept.samples.shape[1] == 4096
    assert kept.damage[0].seconds == pytest.approx(1, abs=0.1)


# What FFmpeg reads


@pytest.mark.parametrize(
    ("codec", "format", "rate", "exact"),
    [
        ("aac", "ipod", 44100, True),
        ("aac", "ipod", 48000, True),
        ("alac", "ipod", 44100, True),
        ("alac", "caf", 44100, True),
        ("libopus", "webm", 48000, True),
        ("tta", "tta", 44100, True),
        ("wavpack", "wv", 44100, True),
        ("flac", "matroska", 44100, True),
        ("aac", "adts", 44100, False),
        ("wmav2", "asf", 44100, False),
        ("mp2", "mp2", 44100, False),
        ("libmp3lame", "wav", 44100, False),
        ("adpcm_ima_wav", "wav", 44100, False),
        ("g722", "wav", 16000, False),
        ("pcm_s16le", "avi", 44100, True),
        ("aac", "mpegts", 44100, False),
        ("ac3", "ac3", 48000, False),
        ("pcm_s16le", "voc", 44100, True),
    ],
)
def test_what_ffmpeg_reads(codec, format, rate, exact, tmp_path):
    samples = tone(2, rate)
    data = encoded(samples, rate, codec, format)
    (tmp_path / "x.wav").write_bytes(data)
    result = audio.read(tmp_path / "x.wav")
    assert (result.sampling_rate, len(result.samples)) == (rate, 1)
    if exact:
        assert result.samples.shape == samples.shape
        assert correlation(result.samples, samples) > 0.99
    else:  # nobody tells what is delay or padding
        assert -1000 <= result.samples.shape[1] - samples.shape[1] < 3 * 2048


def test_m4a_whose_claim_is_off_by_less_than_a_packet():
    data = encoded(tone(2), RATE, "aac", "ipod")
    durations = [data.index(name) for name in (b"mvhd", b"tkhd", b"mdhd")]
    claimed = struct.unpack_from(">I", data, durations[2] + 20)[0]
    longer = patched(data, durations[2] + 20, struct.pack(">I", claimed + 704))
    elst = data.index(b"elst")
    longer = patched(longer, elst + 12, struct.pack(">I", struct.unpack_from(">I", data, elst + 12)[0] + 15))
    assert 0 <= read(longer).samples.shape[1] - 2 * RATE < 1024


def test_m4a_that_is_cut_off():
    data = encoded(tone(4), RATE, "aac", "ipod", options={"movflags": "faststart"})
    with warned(""), pytest.raises(AudioError, match="it was cut off; get a complete copy"):
        read(data[: len(data) * 3 // 4])
    with warned(""):
        kept = read(data[: len(data) * 3 // 4], damaged="keep")
    assert RATE < kept.samples.shape[1] < 4 * RATE
    assert kept.damage[-1].missing > 1000


def test_tags_that_are_not_utf8():
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(1), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    data = file.getvalue()
    assert b"TITLETITLE" in data
    assert read(data.replace(b"TITLETITLE", b"\xff\xfe\xfaTITLE\xe9\x80")).samples.shape == (1, RATE)


def two_tracks():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        streams = [container.add_stream("flac", rate=RATE, layout=layout) for layout in ("mono", "stereo")]
        streams[1].metadata["title"] = "commentary"
        for stream, channels in zip(streams, (1, 2), strict=True):
            frame = av.AudioFrame.from_ndarray(
                (tone(1, channels=channels) * 32767).astype(np.int16).T.reshape(1, -1).copy(),
                format="s16",
                layout=stream.layout.name,
            )
            frame.sample_rate, frame.pts = RATE, 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def test_several_tracks():
    data = two_tracks()
    with pytest.warns(
        AudioWarning,
        match=r"2 audio tracks: 1: flac, 44100 Hz, 1 channel\(s\); 2: .*commentary; track 1 is read",
    ):
        assert len(read(data).samples) == 1
    assert len(read(data, track=2).samples) == 2
    with pytest.raises(AudioError, match="there is no track 3; it has 1: flac"):
        read(data, track=3)


def test_behind_an_id3_tag():
    for codec, format in (("wavpack", "wv"), ("tta", "tta"), ("aac", "adts")):
        data = encoded(tone(1), RATE, codec, format)
        np.testing.assert_array_equal(read(ID3 + data).samples, read(data).samples)
    np.testing.assert_array_equal(read(ID3 + pcm("FLAC")).samples, read(pcm("FLAC")).samples)


def test_a_damaged_last_packet_costs_no_more_than_itself():
    data = encoded(
        np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2 * RATE)).astype(np.float32), RATE, "wavpack", "wv"
    )
    last = data.rindex(b"wvpk")
    with warned("claims 88200 samples, there are|last packet|damaged at its end"):
        result = read(patched(data, last + 60, bytes(len(data) - last - 60)))
    assert 0 < 2 * RATE - result.samples.shape[1] <= RATE


# Pipes


@pytest.mark.parametrize(
    "data",
    [
        pcm("FLAC"),
        pcm("CAF"),
        pcm("AIFF"),
        pcm("AU"),
        pcm("W64"),
        pcm("RF64"),
        *(encoded(tone(1), RATE, *names) for names in [("wavpack", "wv"), ("aac", "adts"), ("tta", "tta")]),
        encoded(tone(1, 48000), 48000, "libopus", "webm"),
        encoded(tone(1), RATE, "aac", "ipod", options={"movflags": "faststart"}),
    ],
    ids=["flac", "caf", "aiff", "au", "w64", "rf64", "wv", "adts", "tta", "webm", "m4a"],
)
def test_pipes(data):
    np.testing.assert_array_equal(piped(data).samples, read(data).samples)


def test_an_m4a_with_its_index_at_the_end_says_what_to_do():
    data = encoded(
        np.random.default_rng(0).uniform(-0.5, 0.5, (1, 5 * RATE)).astype(np.float32), RATE, "aac", "ipod"
    )
    with pytest.raises(AudioError, match=r"save it to a file, or move the index: ffmpeg .*faststart"):
        piped(data)


# What must stay out

OPEN_OTHERS = {
    "concat",
    "concatf",
    "hls",
    "applehttp",
    "dash",
    "webm_dash_manifest",
    "image2",
    "image2pipe",
    "lavfi",
    "rtsp",
    "rtp",
    "sdp",
    "imf",
    "tty",
    "alsa",
    "pulse",
    "x11grab",
    "v4l2",
    "fbdev",
    "kmsgrab",
    "sap",
    "avisynth",
    "vapoursynth",
    "ffmetadata",
    "bluray",
    "libcdio",
    "openal",
    "jack",
    "oss",
    "mpjpeg",
    "mpl2",
    "vobsub",
}


def test_no_demuxer_opens_other_files():
    demuxers = {format.demuxer for _, _, format in TABLE} | {"loas", "aac", "ac3", "eac3", "mpegts"}
    assert not demuxers & OPEN_OTHERS
    for name in demuxers - {""}:
        assert av.format.ContainerFormat(name, "r").is_input


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXTINF:1,\nsecret.wav\n",
        "[playlist]\nFile1=secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "secret.wav",
        "file:secret.wav",
        "http://localhost:1/secret.wav",
        '<?xml version="1.0"?><MPD><Period><BaseURL>secret.wav</BaseURL></Period></MPD>',
        "[Reference]\nRef1=http://localhost:1/secret.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    ],
)
@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.m4a", "x.m3u8", "x.ogg"])
def test_lists_and_addresses_are_not_followed(tmp_path, monkeypatch, text, name):
    monkeypatch.chdir(tmp_path)
    Path("secret.wav").write_bytes(pcm())
    Path(name).write_text(text)
    with pytest.raises(AudioError, match="no audio format that is known here"):
        audio.read(name)


def test_addresses_are_no_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.wav").write_bytes(pcm())
    for name in ("file:x.wav", "http://localhost:1/x.wav", "concat:x.wav", "pipe:0"):
        with pytest.raises(AudioError, match="there is no such file"):
            audio.read(name)


# Fuzz


def seeds():
    short = tone(0.3)
    yield from (pcm(format, short) for format in ("WAV", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC"))
    yield from (mp3(short), vorbis(short, RATE), opus(tone(0.3, 48000)))
    pairs = [
        ("aac", "ipod"),
        ("aac", "adts"),
        ("wavpack", "wv"),
        ("tta", "tta"),
        ("wmav2", "asf"),
        ("flac", "matroska"),
    ]
    pairs += [("libmp3lame", "wav"), ("alac", "caf"), ("mp2", "mp2"), ("pcm_s16le", "avi")]
    yield from (encoded(short, RATE, *pair) for pair in pairs)


FUZZ = """
import io, random, signal, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from dacodec import audio
from dacodec.errors import AudioError
seeds = [open(path, "rb").read() for path in sys.argv[2:]]
random.seed(0)
for i in range(int(sys.argv[1])):
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 2, 5, 20))):
        what, at = random.random(), random.randrange(len(data))
        if what < 0.6:
            data[at if what < 0.3 else min(at, random.randrange(100), len(data) - 1)] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
        elif what < 0.8:
            del data[at : at + random.randrange(1, 200)]
        elif what < 0.9:
            data[at:at] = random.randbytes(random.randrange(1, 20))
        else:
            del data[at:]
        if not data:
            data = bytearray(b"RIFF")
    signal.alarm(60)  # none hangs
    try:
        samples = audio.read(io.BytesIO(data), damaged=random.choice(("error", "keep"))).samples
        assert np.isfinite(samples).all() and samples.size
    except AudioError as error:
        assert "\\n" not in str(error)
"""


def test_damaged_files_give_typed_errors_and_nothing_on_stderr(tmp_path):
    paths = []
    for i, data in enumerate(seeds()):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", FUZZ, "2000", *map(str, paths)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == run.stdout == ""


def test_suffixes_are_written_alike():
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
    assert {".wma", ".wv", ".ape", ".mp2", ".spx", ".tta", ".mpc", ".dsf", ".sph"} <= AUDIO_SUFFIXES
