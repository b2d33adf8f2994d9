"""A folder of tokens holds what Codec.encode gives for each recording, exactly once, whatever happens during the run."""

import json
import os
import resource
import shutil
import signal
from dataclasses import replace

import inline
import made
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from models import save_model

from dacodec import Codec
from dacodec.audio import read
from dacodec.corpus.folder import About, TokenFolder, failures, shards
from dacodec.corpus.forms import FORMS
from dacodec.corpus.settings import Settings
from dacodec.corpus.tokenizing import tokenize
from dacodec.errors import ConfigError, InputError, ModelMismatchError, OutputError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(
        save_model(tmp_path_factory.mktemp("model"), downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    )


@pytest.fixture(scope="module")
def codec(model):
    return Codec.from_pretrained(model)


@pytest.fixture
def corpus(tmp_path):
    return made.folder(tmp_path / "in", n=5, seconds=0.3)


def tokens(corpus, output, model, *, run=inline.run, **options):
    names = set(Settings.__dataclass_fields__)
    settings = Settings(**{k: options.pop(k) for k in names & set(options)})
    sources = corpus if isinstance(corpus, list) else [corpus]
    return tokenize(sources, output, model=model, settings=settings, run=run, **options)


def rows(output):
    about = About.read(output)
    found = [row for path in shards(output) for row in FORMS[about.form].read(path, about.model)]
    assert len({row.key for row in found}) == len(found)
    return {row.key: row for row in found}


def same(row, encoded):
    mine = row.encoded
    assert np.array_equal(mine.codes, encoded.codes)
    assert (mine.sampling_rate, mine.n_samples, mine.model) == (
        encoded.sampling_rate,
        encoded.n_samples,
        encoded.model,
    )
    assert (mine.gain, mine.mid_side) == (encoded.gain, encoded.mid_side)
    return True


@pytest.mark.parametrize("form", ["parquet", "tar", "dacz"])
@pytest.mark.parametrize(
    "options",
    [{}, {"n_quantizers": 3}, {"bitrate_kbps": 1.0}, {"loudness_lufs": -16.0}],
    ids=lambda o: "-".join(o),
)
def test_rows_are_what_encode_gives(form, options, corpus, model, codec, tmp_path):
    report = tokens(corpus, tmp_path / "out", model, form=form, **options)
    assert (report.done, report.rows, report.failed, report.seconds) == (5, 5, 0, pytest.approx(1.5))
    found = rows(tmp_path / "out")
    assert sorted(found) == ["a.wav", "c.wav", "e.wav", "sub/b.flac", "sub/d.flac"]
    for key, row in found.items():
        assert same(row, codec.encode(*read(corpus / key), **options))


def test_channels(codec, model, tmp_path):
    for name, channels in {"mono": 1, "stereo": 2, "three": 3}.items():
        made.folder(tmp_path / "in", n=0)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.wav").write_bytes(made.wav(0.2, 1, channels))
    for kind in ("mono", "left-right", "mid-side"):
        output = tmp_path / kind
        tokens(tmp_path / "in", output, model, channels=kind)
        for key, row in rows(output).items():
            sound = read(tmp_path / "in" / key)
            samples = sound.samples.mean(0, keepdims=True) if kind == "mono" else sound.samples
            assert same(
                row,
                codec.encode(samples, sound.sampling_rate, mid_side=kind == "mid-side" and len(samples) == 2),
            )


@pytest.mark.parametrize("seconds", [3.0, 33.0])  # read at once, and while it is coded
def test_rows_of_a_recording_that_is_split_are_its_codes(seconds, codec, model, tmp_path):
    samples = made.sound(seconds)[:, 0].astype(np.float32) / 32768
    for second in range(1, int(seconds)):
        samples[second * made.RATE : round((second + 0.2) * made.RATE)] = 0
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, made.RATE, subtype="FLOAT")
    whole = codec.encode(samples, made.RATE).codes[0]
    for name, options in {"even": {}, "quiet": {"split_at_silence": True}}.items():
        output = tmp_path / name
        report = tokens(path, output, model, split_seconds=1.6, loudness_lufs=None, **options)
        assert report.done == 1
        assert report.rows == len(rows(output)) > 1
        parts = [rows(output)[key] for key in sorted(rows(output))]
        assert np.array_equal(np.concatenate([p.encoded.codes[0] for p in parts], axis=1), whole)
        assert sum(p.encoded.n_samples for p in parts) == len(samples)
        assert all(p.encoded.duration_seconds <= 1.6 for p in parts)
        starts = [p.start_seconds for p in parts]
        assert starts == pytest.approx(
            [sum(p.encoded.duration_seconds for p in parts[:i]) for i in range(len(parts))]
        )
        if options:
            assert all(0.02 < start % 1 < 0.18 for start in starts[1:])


def test_parts_that_a_list_names_and_their_columns(corpus, codec, model, tmp_path):
    (tmp_path / "list.jsonl").write_text(
        '{"path": "in/a.wav", "start": 0.1, "duration": 0.15, "text": "so"}\n{"path": "in/c.wav", "start": 5}\n'
    )
    report = tokens(tmp_path / "list.jsonl", tmp_path / "out", model)
    assert (report.done, report.failed) == (1, 1)
    [row] = rows(tmp_path / "out").values()
    sound = read(corpus / "a.wav")
    assert same(row, codec.encode(sound.samples[:, 1600:4000], made.RATE))
    assert (row.start_seconds, row.columns) == (
        0.1,
        {"start": 0.1, "source_duration": 0.15, "text": "so"},
    )
    [failed] = failures(tmp_path / "out")
    assert "no audio from 5 s on" in failed.reason


def test_too_short_and_too_long_are_left_out_once(model, tmp_path):
    for i, seconds in enumerate([0.1, 0.2, 0.3, 0.4]):
        (tmp_path / f"{i}.wav").write_bytes(made.wav(seconds, i))
    files = [tmp_path / f"{i}.wav" for i in range(4)]
    for skipped, done in ((0, 4), (4, 0)):
        report = tokens(files, tmp_path / "out", model, least_seconds=0.2, most_seconds=0.3)
        assert (report.skipped, report.done, report.rows) == (skipped, done, 2 if done else 0)
        assert report.left_out == (2 if done else 0)
    assert sorted(rows(tmp_path / "out")) == ["1.wav", "2.wav"]


# Resuming


def test_finished_inputs_are_skipped_and_new_ones_are_added(corpus, model, tmp_path):
    output = tmp_path / "out"
    tokens(corpus, output, model, shard_seconds=0.5)
    before = {path: path.stat().st_mtime_ns for path in shards(output)}
    (corpus / "new.wav").write_bytes(made.wav(0.3, 9))
    report = tokens(corpus, output, model)
    assert (report.done, report.skipped) == (1, 5)
    assert len(rows(output)) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("form", ["parquet", "tar", "dacz"])
def test_inputs_that_changed(form, corpus, model, codec, tmp_path):
    output = tmp_path / "out"
    tokens(corpus, output, model, form=form)
    was = rows(output)
    (corpus / "a.wav").write_bytes(made.wav(0.4, 7))
    report = tokens(corpus, output, model, form=form)
    assert (report.changed, report.done, report.skipped) == (1, 0, 4)
    assert rows(output)["a.wav"].encoded.n_samples == was["a.wav"].encoded.n_samples
    report = tokens(corpus, output, model, form=form, changed="redo")
    assert (report.changed, report.done, report.skipped) == (1, 1, 4)
    now = rows(output)
    assert same(now.pop("a.wav"), codec.encode(*read(corpus / "a.wav")))
    assert all(same(row, was[key].encoded) for key, row in now.items())
    assert tokens(corpus, output, model, form=form).changed == 0


def test_hashes_tell_a_copy_from_a_change(corpus, model, tmp_path):
    tokens(corpus, tmp_path / "out", model, hashes=True)
    os.utime(corpus / "a.wav", (1, 1))
    assert tokens(corpus, tmp_path / "out", model, hashes=True).changed == 0
    content = bytearray((corpus / "c.wav").read_bytes())
    content[-1] ^= 1
    status = (corpus / "c.wav").stat()
    (corpus / "c.wav").write_bytes(content)
    os.utime(corpus / "c.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert tokens(corpus, tmp_path / "out", model, hashes=True).changed == 1


def test_failures_are_reported_kept_and_retried(corpus, model, tmp_path):
    output = tmp_path / "out"
    good = (corpus / "c.wav").read_bytes()
    (corpus / "c.wav").write_bytes(good[:2000])
    (corpus / "empty.wav").write_bytes(b"")
    report = tokens(corpus, output, model)
    assert (report.done, report.failed) == (4, 2)
    table = pq.read_table(output / "failed.parquet").to_pylist()
    assert {row["key"]: row["reason"] for row in table} == {
        "c.wav": table[0]["reason"],
        "empty.wav": f"cannot read {corpus / 'empty.wav'}: it is empty",
    }
    assert "cut off" in table[0]["reason"]
    report = tokens(corpus, output, model)
    assert (report.failed, report.failed_before, report.skipped) == (0, 2, 4)
    report = tokens(corpus, output, model, retry_failed=True)
    assert (report.failed, report.failed_before, report.done) == (2, 0, 0)
    (corpus / "c.wav").write_bytes(good)  # a changed input is tried by itself
    report = tokens(corpus, output, model)
    assert (report.done, report.failed, report.failed_before) == (1, 0, 1)
    assert [f.key for f in failures(output)] == ["empty.wav"]
    (corpus / "empty.wav").write_bytes(good)
    tokens(corpus, output, model)
    assert not (output / "failed.parquet").exists()
    assert len(rows(output)) == 6


def test_two_inputs_of_one_key(corpus, model, tmp_path):
    made.folder(tmp_path / "other", n=1, seconds=0.3)
    report = tokens([corpus, tmp_path / "other"], tmp_path / "out", model)
    assert (report.done, report.failed) == (5, 1)
    assert "whole addresses" in next(failures(tmp_path / "out")).reason
    report = tokens([corpus, tmp_path / "other"], tmp_path / "out2", model, whole_keys=True)
    assert (report.done, report.failed) == (6, 0)


def test_what_was_half_done_is_done_again(corpus, model, tmp_path):
    """A shard without its manifest, and a shard that no manifest names."""
    output = tmp_path / "out"
    tokens(corpus, output, model, shard_seconds=0.5)
    was = rows(output)
    names = sorted(p.name for p in (output / "manifest").iterdir())
    (output / "manifest" / names[0]).unlink()
    shutil.copy(output / "shards" / names[1], output / "shards" / "part-000077.parquet")
    tokens(corpus, output, model)
    now = rows(output)
    assert sorted(now) == sorted(was)
    assert all(same(now[key], was[key].encoded) for key in was)
    assert {p.stem for p in (output / "shards").iterdir()} == {
        p.stem for p in (output / "manifest").iterdir()
    }


def test_a_kill_between_replacing_and_removing(corpus, model, tmp_path, monkeypatch):
    output = tmp_path / "out"
    tokens(corpus, output, model)
    (corpus / "a.wav").write_bytes(made.wav(0.4, 7))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TokenFolder, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            tokens(corpus, output, model, changed="redo")
    assert len(list((output / "shards").iterdir())) > 1
    report = tokens(corpus, output, model)
    assert (report.changed, report.done) == (0, 0)
    assert len(rows(output)) == 5


def test_ctrl_c_keeps_what_is_done(corpus, model, tmp_path):
    def interrupted(work, jobs):
        yield from inline.run(work, jobs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokens(corpus, tmp_path / "out", model, run=interrupted)
    assert len(rows(tmp_path / "out")) == 5


# What is refused


def test_codes_of_two_models_do_not_mix(corpus, model, tmp_path):
    tokens(corpus, tmp_path / "out", model)
    other = save_model(tmp_path / "other", seed=2, downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000)
    with pytest.raises(ModelMismatchError, match="give another folder"):
        tokens(corpus, tmp_path / "out", str(other))


@pytest.mark.parametrize("options", [{"n_quantizers": 2}, {"form": "tar"}, {"channels": "left-right"}])
def test_rows_made_with_different_options_do_not_mix(options, corpus, model, tmp_path):
    tokens(corpus, tmp_path / "out", model)
    with pytest.raises(OutputError, match="made with other options"):
        tokens(corpus, tmp_path / "out", model, **options)


def test_a_folder_of_something_else_and_one_in_use(corpus, model, tmp_path):
    with pytest.raises(OutputError, match="not a folder of tokens"):
        tokens(corpus, corpus, model)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        tokens(corpus, tmp_path / "file", model)


def test_sources_without_audio(model, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no audio in"):
        tokens(tmp_path / "in", tmp_path / "out", model)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": "both"},
        {"damaged": "maybe"},
        {"n_quantizers": 1, "bitrate_kbps": 1.0},
        {"split_at_silence": True},
        {"least_seconds": 3, "most_seconds": 2},
        {"split_seconds": 0},
    ],
)
def test_invalid_settings(settings):
    with pytest.raises(ConfigError):
        Settings(**settings)


@pytest.mark.parametrize("form", ["parquet", "tar", "dacz"])
def test_a_disk_that_fills(form, corpus, model, tmp_path):
    """Files may not grow beyond a few kilobytes: an error of one line, nothing half written, nothing lost."""
    output = tmp_path / "out"
    tokens(corpus / "a.wav", output, model, form=form)
    (corpus / "big.wav").write_bytes(made.wav(25.0, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            tokens(corpus, output, model, form=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(rows(output)) == ["a.wav"]
    report = tokens(corpus, output, model, form=form)
    assert (report.done, report.skipped) == (5, 1)
    assert len(rows(output)) == 6


def test_the_model_is_recorded(corpus, model, codec, tmp_path):
    tokens(corpus, tmp_path / "out", model)
    about = json.loads((tmp_path / "out" / "tokens.json").read_text())
    assert about["model"]["fingerprint"] == codec.model.fingerprint.hex()
    assert about["frames_per_second"] == 50
    assert About.read(tmp_path / "out") == replace(About.read(tmp_path / "out"), model=codec.model)
