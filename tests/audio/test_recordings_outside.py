"""Files that must be refused; and damage raises only typed errors."""

import subprocess
import sys
from pathlib import Path

import av
import pytest
from recordings import RATE, encoded, mp3, opus, pcm, tone, vorbis

from dacodec import audio
from dacodec.audio.formats import AUDIO_SUFFIXES, TABLE
from dacodec.errors import AudioError

pytestmark = pytest.mark.usefixtures("no_warning_passes")


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
    with pytest.raises(AudioError, match="not a known audio format"):
        audio.read(name)


def test_addresses_are_no_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.wav").write_bytes(pcm())
    for name in ("file:x.wav", "http://localhost:1/x.wav", "concat:x.wav", "pipe:0"):
        with pytest.raises(AudioError, match="there is no such file"):
            audio.read(name)


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
