"""The real command on folders, pipes, and everything that can go wrong."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from command import CLIPS, COMMAND, ENVIRONMENT, dacodec, heed_ctrl_c

from dacodec import Encoded

SPEECH = CLIPS / "speech_en_cards_16k.flac"


def wav(samples, rate=16000, subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format="WAV")
    return file.getvalue()


TONE = 0.3 * np.sin(0.05 * np.arange(4000))


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory):
    """Bad inputs of every kind, and the message for each, by name."""
    folder = tmp_path_factory.mktemp("bad")
    good, nan = wav(TONE), TONE.copy()
    nan[7] = np.nan
    files = {
        "empty.wav": (b"", "it is empty"),
        "truncated.wav": (good[:3000], "cut off"),
        "truncated.flac": (SPEECH.read_bytes()[:20000], "it is damaged"),
        "text.wav": (b"just some text" * 99, "not a known audio format"),
        "0hz.wav": (good[:24] + bytes(4) + good[28:], "from 1 to 768000, got 0"),
        "300ch.wav": (
            good[:22] + struct.pack("<H", 300) + good[24:32] + struct.pack("<H", 600) + good[34:],
            "300 channels",
        ),
        "nan.wav": (wav(nan, subtype="FLOAT"), "nan at sample 7"),
        "4gb.wav": (good[:40] + struct.pack("<I", 2**31 - 2**17) + good[44:], "cut off"),
        os.fsdecode(b"caf\xe9.wav"): (b"not audio", "caf\N{REPLACEMENT CHARACTER}.wav"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return folder, {name: message for name, (_, message) in files.items()}


def test_bad_files_are_reported_and_the_rest_carried_on(bad_folder, tmp_path):
    folder, messages = bad_folder
    good, wide, trap = tmp_path / "good.wav", tmp_path / "wide.wav", tmp_path / "x.wav"
    good.write_bytes(wav(TONE))
    wide.write_bytes(wav(np.tile(TONE[:400, None], 200)))  # many channels are no error
    trap.mkdir()
    (trap / "inside.wav").write_bytes(wav(TONE))  # a folder is a folder, whatever its name
    missing = tmp_path / "missing.wav"
    run = dacodec("encode", folder, good, wide, trap, missing, "-o", tmp_path / "out", "--jobs", 2)
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    assert len(lines) == len(messages) + 1
    assert all(line.startswith("dacodec: cannot read ") for line in lines)
    for name, message in {**messages, "missing.wav": "no such file"}.items():
        shown = name.encode("utf-8", "replace").decode() if "caf" not in name else "caf"
        assert any(shown in line and message in line for line in lines), name
    assert run.stdout.startswith("3 done")
    assert run.stdout.endswith(f"0 skipped (their outputs exist), {len(lines)} failed\n")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "good.wav.dacz",
        "inside.wav.dacz",
        "wide.wav.dacz",
    ]

    # Existing outputs are skipped.
    before = (tmp_path / "out" / "good.wav.dacz").stat().st_mtime_ns
    run = dacodec("encode", good, wide, "-o", tmp_path / "out")
    assert (run.returncode, run.stderr) == (0, "")
    assert "2 skipped" in run.stdout
    assert (tmp_path / "out" / "good.wav.dacz").stat().st_mtime_ns == before

    run = dacodec("info", "--json", *sorted((tmp_path / "out").iterdir()))
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["channels"] for record in records] == [1, 1, 200]
    assert records[0]["n_samples"] == 4000
    assert records[0]["model"].startswith("small-")

    run = dacodec("decode", tmp_path / "out", "-o", tmp_path / "back", "--format", "flac", "--jobs", 2)
    assert run.returncode == 1
    assert run.stderr.startswith(
        f"dacodec: {tmp_path}/out/wide.wav.dacz: libsndfile"
    )  # FLAC has 8 channels at most
    assert run.stderr.count("\n") == 1
    assert soundfile.info(tmp_path / "back" / "good.wav.flac").frames == 4000


def test_pipes(tmp_path):
    through_file = tmp_path / "x.dacz"
    assert dacodec("encode", SPEECH, "-o", through_file, "--start", 0.5, "--duration", 1.25).returncode == 0
    samples, rate = soundfile.read(SPEECH, start=8000, frames=20000, dtype="int16")
    raw = dacodec(
        "encode", "-", "--raw", "s16le", "--rate", rate, "-o", "-", input=samples.tobytes(), text=False
    )
    assert raw.returncode == 0, raw.stderr
    piped = tmp_path / "piped.dacz"
    piped.write_bytes(dacodec("encode", "-", input=wav(samples, rate), text=False).stdout)
    assert raw.stdout == piped.read_bytes()
    assert dacodec("decode", through_file, piped, "-o", tmp_path / "out").returncode == 0
    decoded = [soundfile.read(tmp_path / "out" / f"{name}.wav", dtype="int16")[0] for name in ("x", "piped")]
    np.testing.assert_array_equal(*decoded)
    as_wav = dacodec("decode", "-", "-o", "-", input=raw.stdout, text=False).stdout
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(as_wav), dtype="int16")[0], decoded[0])
    bare = dacodec(
        "decode", "-", "--raw", "s16le", "--start", 0.5, "--duration", 0.1, input=raw.stdout, text=False
    )
    np.testing.assert_array_equal(np.frombuffer(bare.stdout, "<i2"), decoded[0][8000:9600])


def m4a(samples, rate=16000):
    """Like most programs write it: with the index last."""
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.float32(samples)[None], "fltp", "mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(
    ("args", "data", "message"),
    [
        (["encode", "-", "--loudness", "-16"], wav(TONE), "two passes"),
        (
            ["encode", "-"],
            m4a(np.random.default_rng(0).uniform(-1, 1, 640_000)),
            "its index comes after its audio, so it cannot be read from a pipe",
        ),
        (["encode", "-"], b"", "cannot read <stdin>"),
        (["encode", "-", "--raw", "s16le"], b"abcd", "give --rate"),
        (["decode", "-"], b"RIFF", "not a .dacz file"),
    ],
)
def test_pipes_refused_in_one_line(args, data, message):
    run = dacodec(*args, input=data, text=False)
    error = run.stderr.decode()
    assert run.returncode in (3, 4)
    assert message in error
    assert error.count("\n") == 1
    assert run.stdout == b""


def test_a_closed_pipe_ends_quietly(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "decode", "-", "--raw", "f32le"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()  # like head
        coded = dacodec("encode", SPEECH, "-o", "-", text=False).stdout
        process.stdin.write(coded)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() != 0


def test_a_full_disk_leaves_nothing(tmp_path):
    import resource

    (tmp_path / "x.wav").write_bytes(wav(np.tile(TONE, 20)))
    run = dacodec("encode", "x.wav", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for args, limit in [
        (["encode", "x.wav", "-o", "y.dacz"], 1000),
        (["decode", "x.dacz", "-o", "y.wav"], 20000),
    ]:
        run = dacodec(
            *args, cwd=tmp_path, preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
        )
        assert run.returncode == 7, run.stderr
        assert run.stderr.startswith("dacodec: cannot write y.")
        assert run.stderr.count("\n") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x.dacz", "x.wav"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_pipe():
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        run = subprocess.run(
            [*COMMAND, "encode", SPEECH, "-o", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
    assert run.returncode == 7
    assert run.stderr == "dacodec: cannot write to the pipe: No space left on device\n"


def test_folders_that_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    run = dacodec("encode", SPEECH, CLIPS / "speech_en_austen_16k.flac", "-o", tmp_path / "file" / "out")
    assert run.returncode == 7
    assert run.stderr.startswith("dacodec: cannot make the folder")
    run = dacodec("encode", SPEECH, "-o", "/proc/x.dacz")
    assert run.returncode == 7
    assert run.stderr.startswith("dacodec: cannot write /proc/x.dacz")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_no_permission(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav(TONE))
    path.chmod(0)
    # Root may read everything, so switch to another user first.
    program = (
        f"import os; from dacodec.audio import read; os.geteuid() or os.setuid(65534); read({str(path)!r})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT)
    assert run.stderr.endswith("x.wav: Permission denied\n")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted(name, code, jobs, tmp_path):
    for stem in "ab":
        (tmp_path / f"{stem}.wav").write_bytes(wav(np.tile(TONE, 4000)))
    with subprocess.Popen(
        [*COMMAND, "encode", tmp_path, "--chunk", "0.5", "-j", str(jobs)],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        preexec_fn=heed_ctrl_c,
    ) as process:
        while not list(tmp_path.glob(".*.part")):
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.wait() == code
        assert b"Traceback" not in process.stderr.read()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_options_of_computing(tmp_path):
    """They change how, not what: other chunks give the same codes except for near-ties, and half precision runs."""
    for name, args in {"a": [], "b": ["--chunk", "0.3"], "c": ["--dtype", "bfloat16"]}.items():
        run = dacodec("encode", SPEECH, "-o", tmp_path / f"{name}.dacz", "--duration", "0.5", *args)
        assert run.returncode == 0, run.stderr
    whole, chunks = (Encoded.load(tmp_path / f"{name}.dacz").codes[0] for name in "ab")
    # The fast engine's rounding depends on where tiles start.
    n_frames = (whole != chunks).any(0).sum()
    assert n_frames <= 1
    run = dacodec("encode", SPEECH, "-o", tmp_path / "d.dacz", "--dtype", "int4")
    assert run.returncode == 2
    assert "int4" in run.stderr


def test_spectrogram(tmp_path):
    picture = tmp_path / "x.png"
    run = dacodec("spectrogram", SPEECH, "-o", picture, "--duration", 1)
    assert run.returncode == 0, run.stderr
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert width > 600
    assert height > 400


def test_play(tmp_path):
    """With a stand-in for the sound card that records what it plays."""
    coded = tmp_path / "x.dacz"
    assert dacodec("encode", SPEECH, "-o", coded, "--duration", 0.5).returncode == 0
    (tmp_path / "sounddevice.py").write_text(
        "import numpy\n"
        "class PortAudioError(Exception): pass\n"
        "class OutputStream:\n"
        "    def __init__(self, samplerate, channels, dtype): self.played = []; print(samplerate, channels, dtype)\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): print(sum(map(len, self.played)))\n"
        "    def write(self, block): assert block.flags.c_contiguous; self.played.append(block)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = dacodec("play", coded, environment={"PYTHONPATH": path})
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["16000", "1", "float32", "8000"]
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    run = dacodec("play", coded, environment={"PYTHONPATH": path})
    assert run.returncode == 7
    assert "pip install dacodec[play]" in run.stderr


def test_completion_of_shells():
    run = dacodec(environment={"_DACODEC_COMPLETE": "source_bash"})
    assert "complete -o default -F" in run.stdout
    run = dacodec(
        environment={"_DACODEC_COMPLETE": "complete_bash", "COMP_WORDS": "dacodec en", "COMP_CWORD": "1"}
    )
    assert run.stdout.split() == ["encode"]
