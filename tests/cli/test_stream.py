"""Live audio through real pipes."""

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
        [*COMMAND, "stream", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=ENVIRONMENT, preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def test_encode_decode_and_loopback_are_offline(samples, tmp_path):
    coded = dacodec("stream", "encode", "--rate", 16000, input=samples.tobytes(), text=False)
    assert (coded.returncode, coded.stderr) == (0, b"")
    (tmp_path / "x.dacz").write_bytes(coded.stdout)
    encoded = Encoded.load(tmp_path / "x.dacz")
    codec = Codec.from_pretrained("builtin")
    offline = codec.encode(samples, 16000)
    assert encoded.n_samples == len(samples)
    assert (encoded.codes == offline.codes).mean() >= 0.999  # "fast" rounds by where its tiles begin
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
        early = process.stdout.read(1200)  # of some 1500 bytes for 1.5 s; would block if they were held back
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0
        assert process.stderr.read() == b""
    (tmp_path / "x.dacz").write_bytes(early + rest)
    assert Encoded.load(tmp_path / "x.dacz").n_samples == len(samples)


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
    assert 0.5 < same.mean() < 0.9  # one second of 3.5 is gone, the rest is as it was
    quiet = np.sqrt((bad[20000:30000] ** 2).mean())
    assert quiet < 1e-3
