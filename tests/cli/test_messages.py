"""Errors are reported in one line, once, with the name of the file and what to do instead."""

import json
import shutil
from pathlib import Path

import pytest
from command import CLIPS, dacodec
from models import SHAPES, save_model

BAD = Path(__file__).parents[1] / "bad_files"
SPEECH = CLIPS / "speech_en_cards_16k.flac"

READERS = [
    ["decode"],
    ["info"],
    ["verify"],
    ["play"],
    ["peel", "-o", "out.dacz", "--n-quantizers", "1"],
    ["repair", "-o", "out.dacz"],
]


@pytest.mark.parametrize("command", READERS, ids=lambda c: c[0])
def test_audio_where_a_coded_file_is_meant(command, tmp_path):
    shutil.copy(SPEECH, tmp_path / "a b.flac")
    run = dacodec(*command, "a b.flac", cwd=tmp_path)
    assert run.returncode == 4
    (line,) = (run.stdout + run.stderr).splitlines()
    assert line.removeprefix("dacodec: ").startswith("a b.flac: not a .dacz file but audio: `dacodec encode`")


@pytest.mark.parametrize("command", READERS[:3] + READERS[4:], ids=lambda c: c[0])
def test_errors_name_the_file(command, tmp_path):
    shutil.copy(BAD / "header-crc.dacz", tmp_path / "bad.dacz")
    run = dacodec(*command, "bad.dacz", cwd=tmp_path)
    assert run.returncode == 4
    (line,) = (run.stdout + run.stderr).splitlines()
    assert line.count("bad.dacz") == 1


def test_several_files_are_named_once_each(tmp_path):
    for name in ("a.dacz", "b.dacz"):
        shutil.copy(BAD / "header-crc.dacz", tmp_path / name)
    for command in ("decode", "info", "verify"):
        run = dacodec(command, "a.dacz", "b.dacz", cwd=tmp_path)
        told = [line for line in (run.stdout + run.stderr).splitlines() if ".dacz" in line]
        assert [(line.count("a.dacz"), line.count("b.dacz")) for line in told] == [(1, 0), (0, 1)]


def test_a_coded_file_where_audio_is_meant(tmp_path):
    shutil.copy(BAD / "header-crc.dacz", tmp_path / "x.dacz")
    run = dacodec("encode", "x.dacz", "-o", "y.dacz", cwd=tmp_path)
    assert run.returncode == 3
    assert run.stderr.count("\n") == 1
    assert "x.dacz" in run.stderr
    assert "`dacodec decode`" in run.stderr


def test_warnings_are_one_line_each(tmp_path):
    save_model(tmp_path / "model", **SHAPES["odd"])
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"colour": "blue"}))
    run = dacodec("encode", SPEECH, "-o", "x.dacz", "--model", "model", "--duration", "0.2", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("dacodec: ")
    assert "colour" in line


def test_a_warning_is_told_once(capsys, monkeypatch):
    import warnings

    from dacodec.cli import warned

    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    warned.install()
    for line in (1, 2):
        warnings.warn_explicit("slow\nindeed", UserWarning, "file.py", line)
    assert capsys.readouterr().err == "dacodec: slow indeed\n"
