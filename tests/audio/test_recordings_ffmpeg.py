"""Formats that FFmpeg reads, and pipes."""

import io
import struct

import av
import numpy as np
import pytest
from recordings import ID3, RATE, correlation, encoded, patched, pcm, piped, read, tone, warned

from dacodec import audio
from dacodec.errors import AudioError, AudioWarning

pytestmark = pytest.mark.usefixtures("no_warning_passes")


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
    else:  # the file does not say what is delay or padding
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
        match=r"2 audio tracks: 1: flac, 44100 Hz, 1 channel\(s\); 2: .*commentary; reading track 1, ",
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
