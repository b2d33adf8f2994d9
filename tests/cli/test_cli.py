"""The real command on real clips."""

import sys

import numpy as np
import pytest
import soundfile
from command import CLIPS, dacodec

SPEECH = CLIPS / "speech_en_cards_16k.flac"
STEREO = sorted(CLIPS.glob("music_*_st.flac"))[0]


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    output = tmp_path_factory.mktemp("coded") / "speech.dacz"
    run = dacodec("encode", SPEECH, "-o", output)
    assert run.returncode == 0, run.stderr
    return output


def test_there_and_back(coded, tmp_path):
    output = tmp_path / "speech.wav"
    run = dacodec("decode", coded, "-o", output, command=[sys.executable, "-m", "dacodec"])
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""  # quiet where there is no terminal
    original, decoded = soundfile.info(SPEECH), soundfile.info(output)
    assert (decoded.frames, decoded.samplerate, decoded.channels) == (
        original.frames,
        original.samplerate,
        original.channels,
    )


def test_default_outputs_bitrate_and_stereo(tmp_path):
    source = tmp_path / "music.flac"
    samples, rate = soundfile.read(STEREO, dtype="float32", stop=44100)
    soundfile.write(source, samples, rate)
    run = dacodec("encode", source, "--bitrate", "6")
    assert run.returncode == 0, run.stderr
    assert "3 codebooks" in run.stdout
    assert dacodec("decode", source.with_suffix(".dacz")).returncode == 0
    decoded, _ = soundfile.read(source.with_suffix(".wav"))
    assert decoded.shape == samples.shape


def test_info(coded):
    run = dacodec("info", coded)
    assert run.returncode == 0
    rows = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    assert rows["model"].startswith("small-3")
    assert rows["codebooks"] == "9 of 1024 codes"
    assert rows["codes"] == "7.752 kbit/s"
    frames = soundfile.info(SPEECH).frames
    assert rows["duration"] == f"{frames / 16000:.3f} s ({frames} samples at 16000 Hz)"
    bytes_rate = coded.stat().st_size * 8 / 1000 / (frames / 16000)
    assert rows["file"] == f"{bytes_rate:.3f} kbit/s"


def test_existing_outputs_are_kept_unless_asked(coded, tmp_path):
    output = tmp_path / "out.wav"
    output.write_bytes(b"mine")
    run = dacodec("decode", coded, "-o", output)
    assert run.returncode == 7
    assert output.read_bytes() == b"mine"
    assert dacodec("decode", coded, "-o", output, "--overwrite").returncode == 0
    assert soundfile.info(output).samplerate == 16000
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]


def broken(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["encode", "missing.wav"], 3, "missing.wav"),
        (["decode", "missing.dacz"], 3, "missing.dacz"),
        (["encode", "text.wav"], 3, "text.wav"),
        (["decode", "text.wav"], 4, "not a .dacz file"),
        (["info", "text.wav"], 4, "not a .dacz file"),
        (["encode", str(SPEECH), "--n-quantizers", "10"], 2, "from 1 to 9"),
        (["encode", str(SPEECH), "--bitrate", "0.5"], 2, "at least 0.861"),
        (["encode", str(SPEECH), "--model", "nobody/nothing"], 6, "nobody/nothing"),
        (["encode", str(SPEECH), "-o", "no/such/folder/x.dacz"], 7, "no/such/folder"),
        (["encode", str(SPEECH), "--engine", "warp"], 1, "warp"),
        (["encode"], 2, "Missing argument"),
        (["encoed"], 2, "No such command"),
    ],
)
def test_errors_in_one_line_with_an_exit_code(args, code, message, tmp_path):
    broken("text.wav", b"just some text\n", tmp_path)
    run = dacodec(*args, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    if code != 2 or "dacodec:" in run.stderr:
        assert run.stderr.startswith("dacodec: ")
        assert run.stderr.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"text.wav"}


def test_import_weights_of_a_wrong_file(tmp_path):
    run = dacodec("import-weights", broken("w.pth", b"nothing", tmp_path), tmp_path / "model")
    assert run.returncode == 6
    assert run.stderr.startswith("dacodec: ")
    assert not (tmp_path / "model").exists()


def test_version():
    run = dacodec("--version")
    assert run.returncode == 0
    assert run.stdout.startswith("dacodec 0.")


def test_decoded_audio_is_of_this_recording(coded, tmp_path):
    """The envelope follows the original's and not another recording's. For sound quality see docs/training.md."""
    output = tmp_path / "speech.wav"
    assert dacodec("decode", coded, "-o", output).returncode == 0
    original, _ = soundfile.read(SPEECH)
    decoded, _ = soundfile.read(output)

    def envelope(x):
        return np.sqrt((x[: len(x) // 400 * 400].reshape(-1, 400) ** 2).mean(1))

    def likeness(a, b):
        return np.corrcoef(envelope(a), envelope(b))[0, 1]

    assert likeness(original, decoded) > likeness(original[::-1], decoded) + 0.5
