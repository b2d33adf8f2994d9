"""Recordings of every kind, and checks of how they are read."""

import contextlib
import io
import os
import re
import tempfile
import threading
import warnings
from pathlib import Path

import av
import numpy as np
import soundfile

from dacodec import audio
from dacodec.errors import AudioWarning

CLIPS = Path(__file__).parents[1] / "data" / "clips"
RATE = 44100


def tone(seconds=1.0, rate=RATE, hz=440.0, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * hz * (c + 1) * t) for c in range(channels)]).astype(np.float32)


def pcm(format="WAV", samples=None, rate=RATE, subtype="PCM_16", endian="FILE"):
    file = io.BytesIO()
    soundfile.write(file, (tone() if samples is None else samples).T, rate, subtype, endian, format)
    return file.getvalue()


def encoded(samples, rate, codec, format, options=None):
    """Samples [C, T] as FFmpeg decodes them."""
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")  # a file, so that the index can be moved
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
    """The audio read through a pipe that delivers a little at a time."""
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
    """One of the warnings in the block must match."""
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


ID3 = b"ID3\4\0\0" + bytes([0, 0, 1, 0]) + b"\xff\xfb\x90\x64" * 32


def opus(samples, rate=48000):
    return encoded(samples, rate, "libopus", "ogg")
