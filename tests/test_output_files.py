"""Outputs are complete or absent and replace no input; leftovers of killed processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dacodec import files
from dacodec.errors import OutputError, shown
from dacodec.files import new_file, refuse_same_file, sweep


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "_swept", set())


def write(path, data=b"new", **options):
    with new_file(path, **options) as file:
        file.write(data)


def names():
    return sorted(path.name for path in Path().iterdir())


def another_name(kind):
    source = Path("a.wav")
    source.write_bytes(b"mine")
    if kind == "hard":
        os.link(source, "b.wav")
    elif kind == "soft":
        Path("b.wav").symlink_to("a.wav")
    return {"same": "a.wav", "spelt": f"./../{Path.cwd().name}/a.wav"}.get(kind, "b.wav")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["same", "spelt", "hard", "soft"])
def test_an_output_is_not_its_input_under_any_name(kind, overwrite):
    output = another_name(kind)
    with pytest.raises(OutputError, match="is the input itself"):
        write(output, overwrite=overwrite, sources=["other.wav", "a.wav"])
    assert Path("a.wav").read_bytes() == b"mine"
    assert not list(Path().glob(".*"))
    with Path("a.wav").open("rb") as opened, pytest.raises(OutputError, match="is the input itself"):
        refuse_same_file(opened.fileno(), output)
    write("other.wav", sources=["a.wav"])


def test_nothing_is_replaced_unasked():
    Path("a.dacz").write_bytes(b"mine")
    Path("link.dacz").symlink_to("gone")
    for name in ("a.dacz", "link.dacz"):
        with pytest.raises(OutputError, match="exists"):
            write(name)
    assert Path("a.dacz").read_bytes() == b"mine"
    assert Path("link.dacz").is_symlink()


def test_what_came_meanwhile_is_not_replaced():
    def slowly():
        with new_file("b.dacz") as file:
            file.write(b"half an hour's work")
            Path("b.dacz").write_bytes(b"another's")

    with pytest.raises(OutputError, match="exists"):
        slowly()
    assert Path("b.dacz").read_bytes() == b"another's"
    assert names() == ["b.dacz"]


def test_devices_and_pipes_are_never_replaced():
    os.mkfifo("pipe")
    for name in ("pipe", os.devnull):
        with pytest.raises(OutputError, match="is a device or a pipe"):
            write(name, overwrite=True)
    assert Path(os.devnull).is_char_device()


def test_the_old_file_is_there_until_the_new_one_is_whole():
    Path("a.dacz").write_bytes(b"old")

    def breaks():
        with new_file("a.dacz", overwrite=True) as file:
            file.write(b"new")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        breaks()
    assert Path("a.dacz").read_bytes() == b"old"
    write("a.dacz", overwrite=True)
    assert Path("a.dacz").read_bytes() == b"new"
    assert names() == ["a.dacz"]


@pytest.mark.parametrize("name", ["x" * 250 + ".wav", "\N{CAT FACE}" * 60])
def test_long_names(name):
    write(name)
    assert names() == [name]


# Leftovers of killed processes

WRITER = """
import sys, time
from dacodec.files import new_file
with new_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(name):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"writing\n"
    return process


def ended(process):
    process.stdin.close()
    process.stdout.close()
    return process.wait()


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not():
    killed, alive = writer("a.dacz"), writer("b.dacz")
    killed.kill()
    assert ended(killed) == -signal.SIGKILL
    assert len(names()) == 2
    with new_file("c.dacz"):  # the next writer in the folder
        assert len(names()) == 2  # of b and c
    assert ended(alive) == 0
    assert names() == ["b.dacz", "c.dacz"]


def unused_number():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_whose_files_are_taken_for_left(monkeypatch):
    gone, here, there = unused_number(), files._HOST, "00000000"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = [
        f".a.dacz.{gone}.part",  # as named by version 0.1
        f".step-00000001.pt.{gone}.part",
        f".a.png.{here}01234567.{gone}.part",
        f".a.png.{here}01234567.{os.getpid()}.part",  # an earlier process with our id
        f".old.png.{there}01234567.{gone}.part",
    ]
    kept = [
        f".a.png.{here}01234567.{other.pid}.part",
        f".a.png.{there}01234567.{gone}.part",  # another machine's, perhaps still running
        f"a.png.{here}01234567.{gone}.part",  # not hidden: not ours
        ".holiday.2019.part",
        f".a.png.{gone}.part",
        f".a.dacz.{gone}.partial",
    ]
    for name in left + kept:
        Path(name).write_bytes(b"half")
    day_before = time.time() - 25 * 3600
    os.utime(left[-1], (day_before, day_before))
    Path(f".link.dacz.{gone}.part").symlink_to(kept[0])
    with new_file("x.png"):
        mine = [name for name in names() if name.startswith(".x.png.")]
        assert len(mine) == 1
        files._swept.clear()
        sweep(Path())  # in another thread, say
        assert mine[0] in names()
    assert set(names()) == {*kept, "x.png", f".link.dacz.{gone}.part"}
    other.communicate()


def test_a_part_that_is_swept_before_it_is_locked_is_made_anew(monkeypatch):
    real, calls = files._lock, []

    def late(file, wait=True):
        calls.append(file.name)
        if len(calls) == 1:
            Path(file.name).unlink()
        return real(file, wait)

    monkeypatch.setattr(files, "_lock", late)
    write("a.dacz")
    assert names() == ["a.dacz"]
    assert len(set(calls)) == 2


def test_a_file_system_without_locks(monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    Path(f".b.dacz.{files._HOST}01234567.{unused_number()}.part").write_bytes(b"half")
    mine = Path(f".c.dacz.{files._HOST}01234567.{os.getpid()}.part")
    mine.write_bytes(b"perhaps another thread's")
    write("a.dacz")
    assert names() == [mine.name, "a.dacz"]


# Names in messages


def test_what_is_shown_steers_no_terminal():
    assert shown("caf\xe9 \u4e2d\u3000.wav") == "caf\xe9 \u4e2d\u3000.wav"
    assert shown(Path("a\x1b[31m\n\r\x07.wav")) == r"a\x1b[31m\n\r\x07.wav"
    assert shown("\x9b2J \u202egnp.exe \u200b\u2028") == r"\x9b2J \u202egnp.exe \u200b\u2028"
    assert shown(os.fsdecode(b"caf\xe9.wav")) == r"caf\xe9.wav"
