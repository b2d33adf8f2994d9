"""Which outputs belong to which inputs."""

import os
from pathlib import Path

import pytest

from dacodec.audio import AUDIO_SUFFIXES
from dacodec.cli.plan import DACZ_SUFFIXES, make_plan
from dacodec.errors import InputError, OutputError


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [
        "in/a.wav",
        "in/a.flac",
        "in/sub/b.WAV",
        "in/sub/notes.txt",
        "in/.hidden.wav",
        "in/.hidden/c.wav",
        "other/a.wav",
        "c.ogg",
    ]:
        put(name)


def put(name):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(b"x")


def plan(inputs, output=None):
    made = make_plan(inputs, output, ".dacz", AUDIO_SUFFIXES)
    return {str(job.source): str(job.output) for job in made.jobs}, made.many


def decoding(inputs, output=None):
    made = make_plan(inputs, output, ".wav", DACZ_SUFFIXES)
    return {str(job.source): str(job.output) for job in made.jobs}


def test_one_file():
    assert plan(["c.ogg"]) == ({"c.ogg": "c.dacz"}, False)
    assert plan(["c.ogg"], "x.dacz") == ({"c.ogg": "x.dacz"}, False)
    assert plan(["c.ogg"], "in") == ({"c.ogg": "in/c.ogg.dacz"}, False)
    assert plan(["c.ogg"], "new/") == ({"c.ogg": "new/c.ogg.dacz"}, False)
    assert plan(["missing.wav"]) == ({"missing.wav": "missing.dacz"}, False)  # reading it will fail


def test_a_folder_is_mirrored():
    expected = {
        "in/a.wav": "out/a.wav.dacz",
        "in/a.flac": "out/a.flac.dacz",
        "in/sub/b.WAV": "out/sub/b.WAV.dacz",
    }
    assert plan(["in"], "out") == (expected, True)
    assert plan(["in"])[0] == {k: v.replace("out/", "in/") for k, v in expected.items()}


@pytest.mark.parametrize("inputs", [["other"], ["other/*"], ["other/a.wav", "c.ogg"]])
def test_what_an_output_is_called_does_not_depend_on_what_comes_later(inputs):
    before, _ = plan(inputs, "out")
    for name in ["other/a.flac", "other/a.mp3", "other/A.wav", "other/a.wav.flac", "other/0/a.wav", "d.ogg"]:
        put(name)
    after, _ = plan([*inputs, "d.ogg"], "out")
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after)


def test_decoding_gives_the_name_back():
    for name in ["a.wav.dacz", "b.flac.dacz", "c.dacz", "d.WAV.dacz", "e.dacz.dacz"]:
        put(f"coded/{name}")
    expected = {
        "a.wav.dacz": "a.wav",
        "b.flac.dacz": "b.flac.wav",
        "c.dacz": "c.wav",
        "d.WAV.dacz": "d.WAV",
        "e.dacz.dacz": "e.dacz.wav",
    }
    assert decoding(["coded"], "out") == {f"coded/{k}": f"out/{v}" for k, v in expected.items()}
    for name, output in expected.items():
        assert decoding([f"coded/{name}"]) == {f"coded/{name}": f"coded/{output}"}
    assert decoding(["in/sub/notes.txt"]) == {"in/sub/notes.txt": "in/sub/notes.txt.wav"}


@pytest.mark.parametrize("inputs", [["in/a.wav", "other/a.wav"], ["in", "other"]])
def test_the_same_name_from_two_places_is_refused_before_any_work(inputs):
    with pytest.raises(OutputError, match=r"in/a.wav and other/a.wav would both become out/a.wav.dacz"):
        plan(inputs, "out")
    assert len(plan(inputs)[0]) == len(plan([inputs[0]])[0]) + 1  # beside their inputs they do not collide
    for name in ["x.dacz", "x.wav.dacz"]:
        put(f"coded/{name}")
    with pytest.raises(OutputError, match=r"would both become coded/x.wav"):
        decoding(["coded"])


def test_a_file_reached_twice_is_done_once():
    jobs, _ = plan(["other", "other/a.wav", "./other/../other/a.wav"], "out")
    assert list(jobs.values()) == ["out/a.wav.dacz"]


def test_globs():
    assert plan(["in/**/*.WAV"], "out") == ({"in/sub/b.WAV": "out/sub/b.WAV.dacz"}, True)
    assert plan(["*/a.wav"], "out")[0] == {
        "in/a.wav": "out/in/a.wav.dacz",
        "other/a.wav": "out/other/a.wav.dacz",
    }
    assert set(plan(["in/*"])[0]) == {"in/a.wav", "in/a.flac"}
    assert plan([str(Path("in/a.*").absolute())], "out")[0].keys() == {
        str(Path(f"in/a.{suffix}").absolute()) for suffix in ("wav", "flac")
    }
    Path("[x].wav").write_bytes(b"x")
    assert plan(["[x].wav"]) == ({"[x].wav": "[x].dacz"}, False)  # a name may look like a glob


@pytest.mark.parametrize("name", ["in/*.mp3", "empty"])
def test_nothing_found(name):
    Path("empty").mkdir()
    with pytest.raises(InputError, match=f"nothing to do in .*{name[-3:]}"):
        plan([name])


# Hidden files and links


def test_what_is_hidden_is_taken_only_if_it_is_named():
    assert list(plan(["in/.hidden"])[0]) == ["in/.hidden/c.wav"]
    assert list(plan(["in/.hidden.wav"])[0]) == ["in/.hidden.wav"]
    assert list(plan(["in/.*.wav"])[0]) == ["in/.hidden.wav"]
    assert not any(".hidden" in name for name in plan(["in"])[0])


@pytest.mark.parametrize("first", ["link.wav", "0.wav"])
def test_a_link_to_a_file_is_a_file_and_no_name_vanishes(first):
    Path("other", first).symlink_to("a.wav")
    assert plan(["other"], "out")[0] == {
        "other/a.wav": "out/a.wav.dacz",
        f"other/{first}": f"out/{first}.dacz",
    }
    os.link("other/a.wav", "other/hard.wav")
    assert "other/hard.wav" in plan(["other"], "out")[0]


@pytest.mark.parametrize("inputs", [["other"], ["other/**/*"]])
def test_links_to_nothing_are_left_out_and_told(inputs):
    for name, target in {"circle.wav": "circle.wav", "dead.wav": "gone.wav", "dead.txt": "gone.txt"}.items():
        Path("other", name).symlink_to(target)
    made = make_plan(inputs, "out", ".dacz", AUDIO_SUFFIXES)
    assert [job.source.name for job in made.jobs] == ["a.wav"]
    assert {left.path.name: left.reason for left in made.left_out} == {
        "circle.wav": "a link in a circle",
        "dead.wav": "a link to nothing",
    }


def test_links_to_folders_are_told_of_and_not_followed():
    Path("other/loop").symlink_to(".")
    Path("other/elsewhere").symlink_to("../in")
    made = make_plan(["other"], "out", ".dacz", AUDIO_SUFFIXES)
    assert [job.source.name for job in made.jobs] == ["a.wav"]
    assert sorted(left.path.name for left in made.left_out) == ["elsewhere", "loop"]
    assert len(plan(["other/elsewhere"])[0]) == 3  # a link that is named is followed
    assert list(plan(["other/**/a.wav"], "out")[0]) == ["other/a.wav", "other/elsewhere/a.wav"]


def test_folders_that_cannot_be_read(monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    closed = ["sub"]
    made = make_plan(["in"], "out", ".dacz", AUDIO_SUFFIXES)
    assert len(made.jobs) == 2
    assert [(str(left.path), left.reason) for left in made.left_out] == [
        ("in/sub", "it cannot be read: Permission denied")
    ]
    closed = ["in"]
    with pytest.raises(InputError, match="cannot read the folder in: Permission denied"):
        make_plan(["in"], "out", ".dacz", AUDIO_SUFFIXES)


# Inputs stay


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard", "soft"])
def test_an_output_is_no_input(link):
    with pytest.raises(OutputError, match=r"c.ogg is the input .*c.ogg itself"):
        plan(["c.ogg"], "./in/../c.ogg")
    Path("out/sub").mkdir(parents=True)
    link(Path("in/a.flac").absolute(), Path("out/sub/b.WAV.dacz"))  # another job's input in the mirrored tree
    with pytest.raises(OutputError, match=r"out/sub/b.WAV.dacz is the input in/a.flac itself"):
        plan(["in"], "out")
    put("coded/x.dacz")
    link(Path("coded/x.dacz").absolute(), "coded/x.wav")
    with pytest.raises(OutputError, match=r"coded/x.wav is the input coded/x.dacz itself"):
        decoding(["coded"])


def test_an_output_is_not_the_model():
    put("weights.pth")
    with pytest.raises(OutputError, match=r"weights.pth is the input weights.pth itself"):
        make_plan(["c.ogg"], "weights.pth", ".dacz", AUDIO_SUFFIXES, "weights.pth")
