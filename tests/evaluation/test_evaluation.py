"""Metrics against the original's values, and the reports of an evaluation."""

import io
import json
import math
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from dacodec import Codec, DacConfig, DacModel
from dacodec.audio import Audio, loudness_lufs, read, write
from dacodec.cli.main import app
from dacodec.errors import AudioError, InputError
from dacodec.evaluation import evaluate, metrics, opus
from dacodec.evaluation.codebooks import codebook_use
from dacodec.evaluation.evaluate import Sound, evaluate_codec, evaluate_pair, means, prepared
from dacodec.evaluation.metrics import METRICS, available, measure, si_sdr_db
from dacodec.evaluation.report import save_html, save_json, table

TRAINING = Path(__file__).parents[1] / "training"
ORIGINAL = json.loads((TRAINING / "original.json").read_text())
CLIPS = Path(__file__).parents[1] / "data" / "clips"
RATE = 8000


def sine(hz, seconds=1.0, level=0.2, rate=RATE):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def codec(tmp_path):
    torch.manual_seed(0)
    model = DacModel(
        DacConfig(4, (4, 5), 16, n_codebooks=3, codebook_size=16, codebook_dim=4, sampling_rate=RATE)
    )
    model.save_pretrained(tmp_path / "tiny")
    return Codec.from_pretrained(tmp_path / "tiny")


@pytest.fixture
def no_opus(monkeypatch):
    """No Opus unless requested."""
    monkeypatch.setitem(evaluate.evaluate_codec.__kwdefaults__, "opus_kbps", ())


def sounds():
    random = np.random.default_rng(0)
    yield Sound("a.wav", "speech", Audio(sine(300)[None], RATE))
    yield Sound("b.wav", "speech", Audio(np.stack([sine(500), sine(700)]), RATE))
    yield AudioError("c.wav: damaged")
    yield Sound(
        "d.wav", "music", Audio(0.1 * random.standard_normal((1, 2 * RATE)).astype(np.float32), 2 * RATE)
    )


def test_si_sdr_is_the_originals_with_the_sign_turned(monkeypatch):
    monkeypatch.syspath_prepend(TRAINING)
    from training_signals import signals

    real, fake = (x[:, 0].numpy() for x in signals())
    mine = np.mean([si_sdr_db(f, r) for f, r in zip(fake, real, strict=True)])
    assert mine == pytest.approx(-ORIGINAL["si_sdr_loss"], abs=1e-4)


def test_si_sdr_ignores_scale_and_knows_a_ratio():
    signal, noise = sine(440), sine(880)
    assert si_sdr_db(3 * (signal + noise), signal) == pytest.approx(0, abs=0.01)
    assert si_sdr_db(signal + 0.1 * noise, signal) == pytest.approx(20, abs=0.01)
    assert si_sdr_db(signal, signal) > 100


def test_better_audio_has_better_scores():
    """On real speech, for all metrics that are installed: a little noise is better than much."""
    speech = read(CLIPS / "speech_en_cards_16k.flac")
    reference = prepared(Audio(speech.samples[:, 16000:48000], 16000), 16000)
    noise = np.random.default_rng(1).standard_normal(len(reference)).astype(np.float32)
    little, much = (reference + level * noise for level in (0.002, 0.05))
    chosen = available(METRICS)
    assert {m.key for m in chosen} == {"mel", "stft", "si_sdr_db", "visqol", "stoi", "pesq"}
    good, bad = (measure(audio, reference, 16000, chosen, speech=True) for audio in (little, much))
    for metric in chosen:
        sign = 1 if metric.better == "higher" else -1
        assert sign * good[metric.key] > sign * bad[metric.key], metric.key
    assert set(measure(much, reference, 16000, chosen[:2], speech=False)) == {"mel", "stft"}
    assert "stoi" not in measure(much, reference, 16000, [m for m in chosen if m.key == "stoi"], speech=False)


def test_codebook_use():
    codes = [np.array([[0, 1, 2, 3], [5, 5, 5, 5]]), np.array([[0, 1, 2, 3], [5, 5, 6, 6]])]
    use = codebook_use(codes, 8)
    assert use.used_share == [0.5, 0.25]
    p = 0.75
    second = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert use.entropy_bits == pytest.approx([2, second], abs=1e-3)
    assert use.efficiency == pytest.approx((2 + second) / 6, abs=1e-4)


def test_what_is_evaluated_is_mono_at_the_models_rate_and_loudness(codec):
    stereo = Audio(np.stack([sine(300, level=0.01, rate=16000), sine(400, level=0.01, rate=16000)]), 16000)
    mono = prepared(stereo, RATE)
    assert mono.shape == (RATE,)
    assert loudness_lufs(mono, RATE) == pytest.approx(-16, abs=0.01)


def test_scores_of_a_codec(codec, no_opus):
    report = evaluate_codec(codec, sounds(), n_quantizers=[3, 1], metrics=METRICS[:3])
    assert [(s.file, s.n_codebooks) for s in report.scores] == [
        (file, k) for file in ("a.wav", "b.wav", "d.wav") for k in (1, 3)
    ]
    config = codec.geometry.config
    assert {s.bitrate_kbps for s in report.scores} == {config.bitrate_kbps(1), config.bitrate_kbps(3)}
    assert report.skipped == ["c.wav: damaged"]
    rows = {(round(rate, 3), pool): values for _, rate, pool, values in means(report)}
    full = round(config.bitrate_kbps(3), 3)
    by_file = {s.file: s.values["mel"] for s in report.scores if s.n_codebooks == 3}
    speech = (by_file["a.wav"] + by_file["b.wav"]) / 2
    assert rows[full, "speech"]["mel"] == pytest.approx(speech)
    # Pools have equal weight, however many files they have.
    assert rows[full, "all"]["mel"] == pytest.approx((speech + by_file["d.wav"]) / 2)
    # The decoded audio is brought to the original's loudness before it is scored.
    versions = report.excerpts[0].versions
    assert len({round(loudness_lufs(x, RATE), 2) for x in versions.values()}) == 1
    assert len(report.codebooks.used_share) == 3
    with pytest.raises(InputError):
        evaluate_codec(codec, [])


def test_processes_measure_the_same(codec, no_opus):
    one, two = (
        evaluate_codec(codec, sounds(), n_quantizers=[1, 3], metrics=METRICS[:3], n_jobs=n) for n in (1, 2)
    )
    assert [(s.file, s.n_codebooks) for s in two.scores] == [(s.file, s.n_codebooks) for s in one.scores]
    for a, b in zip(one.scores, two.scores, strict=True):  # threads sum in another order
        assert b.values == pytest.approx(a.values, rel=1e-5)


def test_scores_of_a_pair():
    quiet = evaluate_pair(
        Audio(sine(300)[None], RATE),
        Audio(0.1 * sine(300)[None, :-7], RATE),
        ("a", "b"),
        speech=False,
        metrics=METRICS[:3],
    )
    assert quiet.scores[0].values["mel"] == pytest.approx(0, abs=1e-3)
    other_rate = evaluate_pair(
        Audio(sine(300)[None], RATE),
        Audio(sine(300, rate=16000)[None], 16000),
        ("a", "b"),
        speech=False,
        metrics=METRICS[2:3],
    )
    assert other_rate.scores[0].values["si_sdr_db"] > 20


def test_the_page_needs_nothing_else_and_the_json_says_what_numbers_mean(codec, no_opus, tmp_path):
    report = evaluate_codec(codec, sounds(), metrics=METRICS[:3])
    save_html(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!#|data:)', page)
    assert page.count("<audio") == 2 * 4  # two pools: the original and 1, 2 and 3 codebooks
    assert page.count("<svg") == 1
    for text in (
        "ViSQOL mostly measures bandwidth",
        "1e-5",
        METRICS[0].definition.split(":")[0].replace("'", "&#x27;"),
    ):
        assert text in page
    assert "c.wav: damaged" in page
    save_json(report, tmp_path / "scores.json")
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["metrics"]["si_sdr_db"]["better"] == "higher"
    assert len(stored["files"]) == len(report.scores)
    assert stored["means"][0]["mel"] == pytest.approx(means(report)[0].values["mel"])
    assert table(report).row_count == len(means(report))


def test_opus_is_called_and_its_file_counts(codec, tmp_path, monkeypatch):
    """With stand-ins for the programs: the encoder writes 1000 bytes, the decoder what the encoder was given."""
    programs = {
        "opusenc": '[ "$1" = --version ] && echo "opusenc opus-tools 0.2 (using libopus 1.4)" && exit; for a; do in=$out; out=$a; done; head -c 1000 /dev/zero > "$out"; cp "$in" "$0.kept"',
        "opusdec": 'for a; do out=$a; done; cp "$(dirname "$0")/opusenc.kept" "$out"',
    }
    for name, body in programs.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    result = opus.through_opus(sine(300), RATE, 8)
    assert result.bitrate_kbps == pytest.approx(8.0)
    np.testing.assert_allclose(result.samples, sine(300), atol=1e-4)
    report = evaluate_codec(codec, sounds(), n_quantizers=[3], opus_kbps=[8], metrics=METRICS[2:3])
    scores = [s for s in report.scores if s.codec == "opus 8"]
    assert [s.bitrate_kbps for s in scores] == pytest.approx([8.0] * 3)
    assert min(s.values["si_sdr_db"] for s in scores) > 20
    assert "Opus is opus-tools 0.2 (using libopus 1.4)" in report.notes


def test_opus_without_its_programs_is_pyavs(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(opus.shutil, "which", lambda name: None)
    signal = sine(300, seconds=3, rate=16000)
    result = opus.through_opus(signal, 16000, 16)
    assert result.samples.shape == signal.shape
    assert np.corrcoef(result.samples, signal)[0, 1] > 0.99
    assert 8 < result.bitrate_kbps < 24
    report = evaluate_codec(codec, sounds(), n_quantizers=[3], opus_kbps=[8], metrics=METRICS[2:3])
    assert sum(s.codec == "opus 8" for s in report.scores) == 3
    assert any(line.startswith("Opus is libopus in PyAV") for line in report.notes)
    save_json(report, tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["notes"] == report.notes


def music():
    yield Sound("a.wav", "folder", Audio(sine(300, seconds=1)[None], RATE))


def test_metrics_of_speech_are_named_where_nothing_is_said_to_be_speech(codec, no_opus, tmp_path):
    speech_metrics = [m for m in METRICS if m.key in ("mel", "stoi")]
    report = evaluate_codec(codec, music(), metrics=speech_metrics)
    assert [m.key for m in report.metrics] == ["mel"]
    assert any(line.startswith("STOI is left out") and "--speech" in line for line in report.notes)
    save_html(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('id="axes_') == 1  # no empty plots
    assert "STOI is left out" in page
    report = evaluate_codec(codec, music(), metrics=speech_metrics, speech=True)
    assert [m.key for m in report.metrics] == ["mel", "stoi"]
    assert not report.notes


def test_metrics_whose_package_is_missing_are_named(codec, no_opus, monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    report = evaluate_codec(codec, music())
    assert sum("pip install dacodec[eval]" in line for line in report.notes) == 3


def test_the_table_is_whole_at_80_columns(codec, no_opus):
    report = evaluate_codec(codec, sounds(), metrics=METRICS[:3])
    report.metrics = list(METRICS)
    values = {m.key: 10.25 + i for i, m in enumerate(METRICS)}
    report.scores = [
        evaluate.Score("descript/dac_44khz_and_more", 7.75, "a", "speech_pool_name", values, 9),
        evaluate.Score("opus 24", 123.45, "a", "music", values),
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(table(report))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("kbit/s", "ViSQOL", "SI-SDR", "123.45", *(f"{value:.2f}" for value in values.values())):
        assert text in shown


def test_the_command(codec, no_opus, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    folder = tmp_path / "in" / "music"
    folder.mkdir(parents=True)
    write(folder / "a.wav", sine(300)[None], RATE)
    write(folder / "b.wav", sine(310)[None], RATE)
    (folder / "c.wav").write_bytes(b"RIFF")
    run = CliRunner().invoke(
        app,
        [
            "eval",
            str(tmp_path / "in"),
            "--model",
            str(tmp_path / "tiny"),
            "--n-quantizers",
            "1,3",
            "--opus",
            "",
            "--json",
            str(tmp_path / "s.json"),
            "--html",
            str(tmp_path / "s.html"),
        ],
    )
    assert run.exit_code == 0, run.output
    stored = json.loads((tmp_path / "s.json").read_text())
    assert len(stored["files"]) == 4
    assert "c.wav" in stored["skipped"][0]
    assert (tmp_path / "s.html").stat().st_size > 10_000
    run = CliRunner().invoke(app, ["eval", str(folder / "a.wav"), str(folder / "b.wav")])
    assert run.exit_code == 0, run.output
    assert CliRunner().invoke(app, ["eval", str(folder / "a.wav")]).exit_code == 2
    assert CliRunner().invoke(app, ["eval", "a", "b", "--metrics", "mle"]).exit_code == 2
