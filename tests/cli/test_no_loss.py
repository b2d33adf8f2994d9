"""No command can be made to lose a file, misname one, or pass control codes in a name to the terminal."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tiny_dacz
from command import COMMAND, ENVIRONMENT, dacodec
from rich.console import Console
from typer.testing import CliRunner

from dacodec import Codec, Encoded
from dacodec.cli import main, options
from dacodec.container import Writer
from dacodec.errors import DacodecError, OutputError
from dacodec.evaluation.evaluate import Report as Scores
from dacodec.evaluation.evaluate import Score
from dacodec.evaluation.report import table

TONE = 0.3 * np.sin(0.05 * np.arange(4000))
EVIL = "a\x1b]0;owned\x07\x1b[2J.wav"


def put_audio(path, seconds=0.25):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.resize(TONE, round(16000 * seconds)), 16000, format="WAV")
    return path


def put_dacz(path, header=tiny_dacz.HEADER):
    file = io.BytesIO()
    with Writer(file, header, index=True) as writer:
        writer.write(tiny_dacz.CODES)
    path.write_bytes(file.getvalue())
    return path


def run_here(*args):
    result = CliRunner().invoke(main.app, [str(arg) for arg in args])
    if isinstance(result.exception, DacodecError):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("link", [None, os.link, os.symlink], ids=["same", "hard", "soft"])
@pytest.mark.parametrize(
    "args",
    [
        ["encode", "a.wav", "-o", "OUT"],
        ["decode", "a.dacz", "-o", "OUT"],
        ["peel", "a.dacz", "--n-quantizers", "1", "-o", "OUT"],
        ["repair", "a.dacz", "-o", "OUT"],
        ["repair", "b.dacz", "--header-from", "a.dacz", "-o", "OUT"],
        ["import-dac", "a.dac", "-o", "OUT"],
        ["spectrogram", "a.wav", "-o", "OUT"],
        ["spectrogram", "b.wav", "a.wav", "-o", "OUT"],
        ["eval", "a.wav", "b.wav", "--json", "OUT"],
        ["eval", "b.wav", "a.wav", "--html", "OUT"],
        ["eval", "--model", "builtin", "a.wav", "--json", "OUT"],
        ["eval", "--model", "builtin", "folder", "--json", "folder/a.wav"],
    ],
    ids=lambda args: "-".join(args[:2]),
)
def test_no_command_replaces_its_input(args, link, overwrite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "folder/a.wav"):
        put_audio(tmp_path / name)
    for name in ("a.dacz", "b.dacz"):
        put_dacz(tmp_path / name)
    (tmp_path / "a.dac").write_bytes(b"codes of another package")
    overwrite = [] if args[0] == "eval" else overwrite  # eval has no such option; it replaces files
    source = next(arg for arg in args if arg.startswith("a.")) if "OUT" in args else "folder/a.wav"
    output = source
    if link is not None and "OUT" in args:
        output = f"other.{source.partition('.')[2]}"
        link(source, output)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match=f"{output} is the input"):
        run_here(*[output if arg == "OUT" else arg for arg in args], *overwrite)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_command_itself(tmp_path):
    source = put_audio(tmp_path / "a.wav")
    before = source.read_bytes()
    run = dacodec("encode", "a.wav", "-o", "./a.wav", "--overwrite", cwd=tmp_path)
    assert run.returncode == 7
    assert run.stderr.count("\n") == 1
    assert source.read_bytes() == before


def test_no_call_replaces_its_input(tmp_path):
    codec = Codec.from_pretrained("builtin")
    source, coded = put_audio(tmp_path / "a.wav"), tmp_path / "a.dacz"
    codec.encode_file(source, coded)
    for call, path in ((codec.encode_file, source), (codec.decode_file, coded)):
        before = path.read_bytes()
        with pytest.raises(OutputError, match="is the input itself"):
            call(path, str(path), overwrite=True)
        assert path.read_bytes() == before


def test_standard_input_is_an_input_too(tmp_path):
    source, coded = put_audio(tmp_path / "a.wav"), tmp_path / "a.dacz"
    before = source.read_bytes()
    with source.open("rb") as file:
        run = subprocess.run(
            [*COMMAND, "encode", "-", "-o", source, "--overwrite"],
            stdin=file,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
    assert run.returncode == 7, run.stderr
    assert source.read_bytes() == before
    with coded.open("ab") as appended:
        put_dacz(coded)
        size = coded.stat().st_size
        run = subprocess.run(
            [*COMMAND, "decode", coded, "-o", "-", "--model", "builtin"],
            stdout=appended,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
    assert run.returncode == 7, run.stderr
    assert coded.stat().st_size == size


def test_repair_in_place_keeps_the_file_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path, link = put_dacz(tmp_path / "a.dacz"), tmp_path / "link.dacz"
    data = bytearray(path.read_bytes())
    data[len(tiny_dacz.HEADER.to_bytes()) + 44] ^= 1
    path.write_bytes(data)
    path.chmod(0o640)
    link.symlink_to("a.dacz")
    for wrong in ([], ["--in-place", "-o", tmp_path / "b.dacz"]):
        assert run_here("repair", path, *wrong)[0] == 2

    import dacodec.container

    def breaks(file, out, header):
        out.write(b"half")
        raise OutputError("cannot write: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(dacodec.container, "repair", breaks)
        with pytest.raises(OutputError, match="no space"):
            run_here("repair", path, "--in-place")
    assert path.read_bytes() == data
    code, text = run_here("repair", link, "--in-place")
    assert (code, "8 frames were lost" in text) == (0, True)
    assert Encoded.load(path).n_frames == 30
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dacz", "link.dacz"]


def test_a_file_added_later_renames_nothing_and_links_are_told_of(tmp_path):
    put_audio(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "link.wav").symlink_to("a.wav")
    (tmp_path / "in" / "dead.wav").symlink_to("gone.wav")
    (tmp_path / "in" / "loop").symlink_to(".")
    assert dacodec("encode", "in", "-o", "out", cwd=tmp_path).returncode == 0
    soundfile.write(tmp_path / "in" / "a.flac", TONE, 16000)
    put_audio(tmp_path / "in" / ".cache" / "b.wav")
    run = dacodec("encode", "in", "-o", "out", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("1 done")
    assert lines[0].endswith("2 skipped (their outputs exist), 0 failed, 2 left out:")
    assert sorted(lines[1:]) == [
        "  in/dead.wav: a link to nothing",
        "  in/loop: a link to a folder; name it to take its contents",
    ]
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["a.flac.dacz", "a.wav.dacz", "link.wav.dacz"]
    assert dacodec("decode", "out", "-o", "back", cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == ["a.flac.wav", "a.wav", "link.wav"]


def test_the_rule_of_names_is_in_the_help():
    for command, example in {"encode": "a.wav.dacz", "decode": "a.flac.wav"}.items():
        text = " ".join(dacodec(command, "--help").stdout.split())
        assert example in text.replace(" │ │ ", " ")


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    put_audio(tmp_path / "in" / "a.wav", 600)
    put_audio(tmp_path / "done" / "b.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav.dacz").write_bytes(b"done")
    with subprocess.Popen(
        [*COMMAND, "encode", tmp_path / "in", "-o", tmp_path / "out", "--chunk", "0.5"], env=ENVIRONMENT
    ) as process:
        while not list((tmp_path / "out").glob(".*.part")):
            time.sleep(0.05)
            assert process.poll() is None
        # While it runs, others leave its file alone.
        assert dacodec("encode", tmp_path / "done", "-o", tmp_path / "out").returncode == 0
        assert list((tmp_path / "out").glob(".*.part"))
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "out").glob(".*.part"))
    run = dacodec("encode", tmp_path / "done", "-o", tmp_path / "out")  # with nothing to do
    assert "1 skipped" in run.stdout
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.wav.dacz"]


def test_names_cannot_steer_the_terminal(tmp_path):
    """Everything the command prints about them, on standard output and error."""
    put_audio(tmp_path / "in" / EVIL)
    (tmp_path / "in" / f"dead{EVIL}").symlink_to("gone")
    (tmp_path / "in" / f"bad{EVIL}").write_bytes(b"not audio")
    header = replace(tiny_dacz.HEADER, model_name="toy\u202e\u200b")
    dacz = put_dacz(tmp_path / f"{EVIL}.dacz", header)
    bad = tmp_path / f"bad{EVIL}.dacz"
    bad.write_bytes(b"not one")
    odd = put_dacz(tmp_path / os.fsdecode(b"caf\xe9.dacz"))
    said = ""
    for args in (
        ["encode", "in", "-o", "out"],
        ["encode", f"in/{EVIL}", "-o", f"{EVIL}.out"],
        ["encode", f"in/bad{EVIL}"],
        ["decode", "out"],
        ["decode", dacz],
        ["decode", bad],
        ["info", dacz],
        ["info", dacz, bad, odd],
        ["info", "--json", dacz, odd],
        ["verify", dacz, bad, odd],
        ["peel", dacz, "--n-quantizers", "1", "-o", tmp_path / f"peeled{EVIL}"],
        ["repair", dacz, "-o", tmp_path / f"repaired{EVIL}"],
        ["spectrogram", f"in/{EVIL}", "-o", f"{EVIL}.png"],
        ["spectrogram", f"in/bad{EVIL}"],
        ["import-dac", bad],
        ["import-weights", bad, "folder"],
        ["eval", f"in/{EVIL}", f"in/bad{EVIL}"],
        ["train", f"{EVIL}.yaml"],
    ):
        run = dacodec(*args, cwd=tmp_path, text=False)
        assert b"Traceback" not in run.stderr, run.stderr.decode(errors="replace")
        said += (run.stdout + run.stderr).decode()
    assert not {c for c in said if not c.isprintable()} - {"\n"}
    assert said.count(r"\x1b]0;owned\x07\x1b[2J") > 10  # some places replace them
    assert r"caf\xe9.dacz" in said
    assert r"toy\u202e\u200b" in said


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_names_in_brackets_are_no_markup(monkeypatch):
    """Names in spinners and tables on a terminal."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    status = options.working("loading [/x]\x1b[2J")
    assert str(status.renderable.text) == r"loading [/x]\x1b[2J"
    scores = [Score("[/c]\x1b[2J", 1.0, "x.wav", "[/p]\x1b[2J", {})]
    file = io.StringIO()
    Console(file=file, width=200).print(table(Scores("[/t]\x1b[2J", 16000, scores)))
    for name in ("[/c]", "[/p]", "[/t]"):
        assert name + r"\x1b[2J" in file.getvalue()
