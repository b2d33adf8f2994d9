"""The command on real-world recordings: damage, other suffixes, warnings."""

import io
import struct

import numpy as np
import soundfile
from command import dacodec

from dacodec.encoded import Summary

TONE = 0.3 * np.sin(0.05 * np.arange(8000))


def wav(samples=TONE, claim=None):
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, "PCM_16", format="WAV")
    data = file.getvalue()
    return data if claim is None else data[:40] + struct.pack("<I", claim) + data[44:]


def test_damaged_recordings_are_refused_or_kept(tmp_path):
    (tmp_path / "cut.wav").write_bytes(wav()[:8044])
    run = dacodec("encode", tmp_path / "cut.wav", "-o", tmp_path / "x.dacz")
    assert run.returncode == 3
    assert "cut off" in run.stderr
    assert "--damaged keep" in run.stderr
    run = dacodec("encode", tmp_path / "cut.wav", "-o", tmp_path / "x.dacz", "--damaged", "keep")
    assert run.returncode == 0, run.stderr
    assert Summary.read(tmp_path / "x.dacz").n_samples == 4000
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"dacodec: {tmp_path}/cut.wav: its header claims")
    run = dacodec("encode", tmp_path / "cut.wav", "-o", tmp_path / "y.dacz", "--damaged", "perhaps")
    assert run.returncode == 3
    assert "damaged is 'error' or 'keep'" in run.stderr


def test_warnings_and_what_was_passed_over_are_counted(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.wav", "b.xyz"):
        (folder / name).write_bytes(wav())
    (folder / "more.wav").write_bytes(wav(claim=4000))
    for name in ("cover.jpg", "other.JPG", "notes"):
        (folder / name).write_text("no audio")
    run = dacodec("encode", folder, "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert "2 done" in run.stdout
    assert "0 failed, 1 warning(s)" in run.stdout
    assert "not taken, not audio by suffix: 2 .jpg, 1 .xyz, 1 (none)" in run.stdout
    assert [line for line in run.stderr.splitlines() if "more follow; all are read" in line] == [
        run.stderr.strip()
    ]
    run = dacodec("encode", folder, "-o", tmp_path / "out", "--suffix", ".xyz")
    assert "1 done" in run.stdout
    assert ".xyz" not in run.stdout


def test_tracks_are_chosen(tmp_path):
    (tmp_path / "x.wav").write_bytes(wav())
    run = dacodec("encode", tmp_path / "x.wav", "-o", tmp_path / "x.dacz", "--track", "2")
    assert run.returncode == 3
    assert "there is no track 2; it has one" in run.stderr
    run = dacodec("encode", "--help")
    assert "--track" in run.stdout
    assert "--damaged" in run.stdout
