"""Files of plain samples: headers that were never filled in, or are wrong."""

import io
import struct

import numpy as np
import pytest
import soundfile
from recordings import RATE, encoded, patched, pcm, piped, read, tone, warned

from dacodec.errors import AudioError

pytestmark = pytest.mark.usefixtures("no_warning_passes")


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
    """Including big-endian 24-bit WAV, which FFmpeg reads wrong."""
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
    """Where the header stores the size of the audio, and how it is packed."""
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
    if format == "RF64":  # 64 bits, in a separate chunk
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
    with pytest.raises(AudioError, match=r"it holds AC-3 \(format tag 0x2000\), not PCM"):
        read(data)
    real = encoded(tone(1, 48000), 48000, "ac3", "wav")
    assert read(real).samples.shape[1] >= 48000 - 1536  # the file does not say what is delay
