"""Which outputs come of which inputs."""

from pathlib import Path

import pytest

from dacodec.audio import AUDIO_SUFFIXES
from dacodec.cli.plan import make_plan
from dacodec.errors import InputError


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [
        "in/a.wav",
        "in/a.flac",
        "in/sub/b.WAV",
        "in/sub/notes.txt",
        "in/.hidden.wav",
        "other/a.wav",
        "c.ogg",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def plan(inputs, output=None):
    made = make_plan(inputs, output, ".dacz", AUDIO_SUFFIXES)
    return {str(job.source): str(job.output) for job in made.jobs}, made.many


def test_one_file():
    assert plan(["c.ogg"]) == ({"c.ogg": "c.dacz"}, False)
    assert plan(["c.ogg"], "x.dacz") == ({"c.ogg": "x.dacz"}, False)
    assert plan(["c.ogg"], "in") == ({"c.ogg": "in/c.dacz"}, False)
    assert plan(["c.ogg"], "new/") == ({"c.ogg": "new/c.dacz"}, False)
    assert plan(["missing.wav"]) == ({"missing.wav": "missing.dacz"}, False)  # reading it will tell


def test_a_folder_is_mirrored_and_names_are_kept_apart():
    expected = {
        "in/a.wav": "out/a.wav.dacz",
        "in/a.flac": "out/a.flac.dacz",
        "in/sub/b.WAV": "out/sub/b.dacz",
    }
    assert plan(["in"], "out") == (expected, True)
    assert plan(["in"])[0] == {k: v.replace("out/", "in/") for k, v in expected.items()}


def test_the_same_name_from_two_places():
    assert plan(["in/a.wav", "other/a.wav"], "out")[0] == {
        "in/a.wav": "out/a.wav.dacz", "other/a.wav": "out/a.wav-2.dacz",
    }  # fmt: skip


def test_a_file_reached_twice_is_done_once():
    jobs, _ = plan(["other", "other/a.wav", "./other/../other/a.wav"], "out")
    assert list(jobs.values()) == ["out/a.dacz"]


def test_globs():
    assert plan(["in/**/*.WAV"], "out") == ({"in/sub/b.WAV": "out/b.dacz"}, True)
    assert set(plan(["in/*"])[0]) == {"in/a.wav", "in/a.flac"}
    Path("[x].wav").write_bytes(b"x")
    assert plan(["[x].wav"]) == ({"[x].wav": "[x].dacz"}, False)  # a name may look like a glob


@pytest.mark.parametrize("name", ["in/*.mp3", "empty"])
def test_nothing_found(name):
    Path("empty").mkdir()
    with pytest.raises(InputError, match=f"nothing to do in .*{name[-3:]}"):
        plan([name])


def test_no_two_outputs_are_one():
    names = ["x/a.wav", "y/a.wav", "y/a.flac", "z/a.wav.flac", "z/a.wav-2.ogg"]
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    jobs, _ = plan(names, "out")
    assert len(set(jobs.values())) == len(names)
