"""``dacodec peel``, ``verify``, ``repair`` and ``import-dac``."""

import sys

import numpy as np
import pytest
import tiny_dacz
from typer.testing import CliRunner

from dacodec import Codec, Encoded
from dacodec.audio import loudness_lufs
from dacodec.cli import main

HEADER = tiny_dacz.HEADER


def dacodec(*args):
    """Exit code and output of a command, run here, errors turned into lines as on the command line."""
    result = CliRunner().invoke(main.app, [str(arg) for arg in args])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_commands_are_there(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dacodec", "verify", "nothing.dacz"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 3
    assert "cannot read nothing.dacz" in capsys.readouterr().err


def test_peel(tmp_path):
    source, output = tmp_path / "x.dacz", tmp_path / "y.dacz"
    source.write_bytes(tiny_dacz.written(3))
    code, text = dacodec("peel", source, "--n-quantizers", 2, "-o", output)
    assert code == 0
    assert f"2 codebooks, {source.stat().st_size} -> {output.stat().st_size} bytes" in text.replace("\n", " ")
    assert output.read_bytes() == tiny_dacz.written(2)


def test_verify_and_repair(tmp_path):
    sound, damaged, output = (tmp_path / name for name in ("sound.dacz", "damaged.dacz", "out.dacz"))
    data = bytearray(tiny_dacz.written(3))
    sound.write_bytes(data)
    data[len(HEADER.to_bytes()) + 44] ^= 1  # frames 8 to 15
    damaged.write_bytes(data)
    code, text = dacodec("verify", sound)
    assert (code, "sound, 3.000 s, 30 frames" in text) == (0, True)
    code, text = dacodec("verify", sound, damaged)
    assert code == 4
    assert "DAMAGED, 3.000 s" in text
    assert "0.800 s lost at 0.800 s: a packet is damaged" in text
    code, text = dacodec("repair", damaged, "-o", output)
    assert (code, "8 frames were lost" in text) == (0, True)
    assert dacodec("verify", output)[0] == 0
    assert np.array_equal(Encoded.load(output).codes[:, :, :8], tiny_dacz.CODES[:, :3, :8])


def test_repair_with_another_files_header(tmp_path):
    sound, damaged, output = (tmp_path / name for name in ("sound.dacz", "damaged.dacz", "out.dacz"))
    data = tiny_dacz.written(3)
    sound.write_bytes(data)
    damaged.write_bytes(b"??" + data[2:])
    assert dacodec("verify", damaged)[0] == 4
    assert dacodec("repair", damaged, "--header-from", sound, "-o", output)[0] == 0
    assert np.array_equal(Encoded.load(output).codes, tiny_dacz.CODES[:, :3])


def test_import_dac(tmp_path):
    """Written like descript-audio-codec 1.0.0 does; decoded to the original loudness."""
    codec = Codec.from_pretrained("builtin")
    samples = np.sin(np.arange(44100) / 20).astype(np.float32) * 0.3
    codes = codec.encode(samples, 44100).codes
    old, new = tmp_path / "old.dac", tmp_path / "old.dacz"
    metadata = {
        "input_db": np.array([-25], np.float32),
        "original_length": 48000,
        "sample_rate": 48000,
        "chunk_length": codes.shape[2],
        "channels": 1,
        "padding": True,
        "dac_version": "1.0.0",
    }
    with old.open("wb") as file:
        np.save(file, np.array({"codes": codes, "metadata": metadata}, object))
    assert dacodec("import-dac", old, "--model", "builtin")[0] == 0
    encoded = Encoded.load(new)
    assert np.array_equal(encoded.codes, codes)
    assert (encoded.sampling_rate, encoded.n_samples) == (48000, 48000)
    assert abs(loudness_lufs(codec.decode(encoded), 48000) + 25) < 0.1
    with old.open("wb") as file:
        np.save(file, np.array({"codes": codes, "metadata": {**metadata, "padding": False}}, object))
    with pytest.raises(ValueError, match="decode it with Descript's package"):
        dacodec("import-dac", old, "-o", tmp_path / "b.dacz", "--model", "builtin")
