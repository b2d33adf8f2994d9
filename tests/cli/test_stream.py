"""Live audio through real pipes."""

import os
import signal
import subprocess

import numpy as np
import pytest
import soundfile
from command import CLIPS, COMMAND, ENVIRONMENT, dacodec, heed_ctrl_c

from dacodec import Codec, Encoded

SPEECH = CLIPS / "speech_en_cards_16k.flac"


@pytest.fixture(scope="module")
def samples():
    return soundfile.read(SPEECH, dtype="int16")[0][:24000]


def start(*args):
    return subprocess.Popen(
        [*COMMAND, "stream", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=heed_ctrl_c,
    )


def test_encode_decode_and_loopback_are_offline(samples, tmp_path):
    coded = dacodec("stream", "encode", "--rate", 16000, input=samples.tobytes(), text=False)
    assert (coded.returncode, coded.stderr) == (0, b"")
    (tmp_path / "x.dacz").write_bytes(coded.stdout)
    encoded = Encoded.load(tmp_path / "x.dacz")
    codec = Codec.from_pretrained("builtin")
    offline = codec.encode(samples, 16000)
    assert encoded.n_samples == len(samples)
    assert (
        encoded.codes == offline.codes
    ).mean() >= 0.999  # the rounding of "fast" depends on where tiles start
    decoded = dacodec("stream", "decode", "--statistics", input=coded.stdout, text=False)
    assert b"look-ahead" in decoded.stderr
    live = np.frombuffer(decoded.stdout, "<i2") / 32768
    expected = codec.decode(encoded)[0]
    assert np.abs(live - expected).max() < 2**-15 + 1e-5
    looped = dacodec("stream", "loopback", "--rate", 16000, input=samples.tobytes(), text=False)
    assert len(looped.stdout) == len(samples) * 2
    assert np.corrcoef(np.frombuffer(looped.stdout, "<i2"), live)[0, 1] > 0.99


def test_mid_and_side_come_out_as_left_and_right(tmp_path):
    clip = CLIPS / "music_guitar_em9_44k_st.flac"
    run = dacodec(
        "encode", clip, "-o", tmp_path / "x.dacz", "--mid-side", "--loudness", -20, "--duration", 0.5
    )
    assert run.returncode == 0, run.stderr
    live = dacodec("stream", "decode", "--raw", "f32le", input=(tmp_path / "x.dacz").read_bytes(), text=False)
    expected = Codec.from_pretrained("builtin").decode(Encoded.load(tmp_path / "x.dacz"))
    heard = np.frombuffer(live.stdout, "<f4").reshape(-1, 2).T
    assert np.linalg.norm(heard - expected) <= 1e-5 * np.linalg.norm(expected)


def test_nothing_is_held_back_and_ctrl_c_ends_cleanly(samples, tmp_path):
    """Packets come while the input is still open."""
    with start("encode", "--rate", "16000") as process:
        process.stdin.write(samples.tobytes())
        process.stdin.flush()
        early = process.stdout.read(1200)  # of about 1500 bytes for 1.5 s; would block if they were held back
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0
        assert process.stderr.read() == b""
    (tmp_path / "x.dacz").write_bytes(early + rest)
    assert Encoded.load(tmp_path / "x.dacz").n_samples == len(samples)


SOUND_CARD = """
import os, signal, numpy, soundfile
class PortAudioError(Exception): pass
class Stream:
    def __init__(self, samplerate, channels, dtype): assert (samplerate, channels, dtype) == (16000, 1, "float32")
    def __enter__(self): return self
    def __exit__(self, *_): pass
class InputStream(Stream):
    samples, position = soundfile.read(os.environ["RECORD"], dtype="float32", always_2d=True)[0][:16000], 0
    def read(self, n):
        block = self.samples[self.position : self.position + n]
        self.position += n
        if self.position >= len(self.samples): os.kill(os.getpid(), signal.SIGINT)
        return block, self.position < 2000
class OutputStream(Stream):
    played = []
    def __exit__(self, *_): numpy.save(os.environ["PLAY"], numpy.concatenate(self.played))
    def write(self, block): self.played.append(block)
"""


def test_microphone_to_speaker_until_ctrl_c(samples, tmp_path):
    """With a stand-in for the sound card, which records a clip and what is played; then Ctrl-C arrives."""
    (tmp_path / "sounddevice.py").write_text(SOUND_CARD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "RECORD": str(SPEECH), "PLAY": str(tmp_path / "played.npy")}
    run = dacodec(
        "stream",
        "loopback",
        "--rate",
        16000,
        "--microphone",
        "--speaker",
        "--statistics",
        environment=environment,
        preexec_fn=heed_ctrl_c,
    )
    assert run.returncode == 0, run.stderr
    assert "1.00 s of audio" in run.stderr
    assert (
        run.stderr.count("samples were lost") == 1
    )  # reported once, although the stand-in reports it at several reads
    played = np.load(tmp_path / "played.npy")[:, 0]
    codec = Codec.from_pretrained("builtin")
    expected = codec.decode(codec.encode(samples[:16000], 16000))
    assert played.shape == expected.shape
    assert np.corrcoef(played, expected)[0, 1] > 0.99
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    for args in (["encode", "--microphone"], ["loopback", "--speaker"]):
        run = dacodec("stream", *args, environment=environment, text=False)
        assert run.returncode in (3, 7)
        assert b"pip install dacodec[play]" in run.stderr


def test_less_lookahead(samples):
    exact, sooner = (
        dacodec(
            "stream", "loopback", "--rate", 16000, "--statistics", *more, input=samples.tobytes(), text=False
        )
        for more in ([], ["--lookahead-ms", 40])
    )
    assert b"look-ahead 91 ms" in sooner.stderr  # twice 40 ms, plus the resamplers' reach
    assert b"look-ahead 232 ms" in exact.stderr
    assert len(sooner.stdout) == len(exact.stdout) == 2 * len(samples)
    a, b = (np.frombuffer(run.stdout, "<i2").astype(float) for run in (exact, sooner))
    assert 0.9 < np.corrcoef(a, b)[0, 1] < 0.99999


def test_damage_is_concealed_and_told(tmp_path):
    assert dacodec("encode", SPEECH, "-o", tmp_path / "x.dacz").returncode == 0
    data = bytearray((tmp_path / "x.dacz").read_bytes())
    data[1500] ^= 4
    (tmp_path / "bad.dacz").write_bytes(data)
    strict = dacodec("decode", tmp_path / "bad.dacz")
    assert strict.returncode == 4
    assert "at byte" in strict.stderr
    assert not (tmp_path / "bad.wav").exists()
    concealed = dacodec("decode", tmp_path / "bad.dacz", "--conceal")
    assert concealed.returncode == 0
    assert "lost at" in concealed.stdout
    clean = dacodec("decode", tmp_path / "x.dacz")
    assert clean.returncode == 0
    bad, good = (soundfile.read(tmp_path / name)[0] for name in ("bad.wav", "x.wav"))
    assert len(bad) == len(good)
    same = np.abs(bad - good) < 2**-14
    assert 0.5 < same.mean() < 0.9  # one second of 3.5 is lost, the rest is unchanged
    quiet = np.sqrt((bad[20000:30000] ** 2).mean())
    assert quiet < 1e-3
