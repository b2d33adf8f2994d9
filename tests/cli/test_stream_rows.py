"""Rows of a language model's ids on standard input, audio on standard output."""

import json
import subprocess

import numpy as np
import pytest
from command import COMMAND, ENVIRONMENT, dacodec

from dacodec import Codec
from dacodec.tokens import LAYOUTS, apply

DIA = LAYOUTS["dia"]


@pytest.fixture(scope="module")
def codec():
    return Codec.from_pretrained("builtin")


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(0).integers(0, 1024, (9, 40))


def decode(data, *more):
    return dacodec(
        "stream",
        "decode",
        "--layout",
        "dia",
        "--model",
        "builtin",
        "--raw",
        "f32le",
        *more,
        input=data,
        text=False,
    )


def heard(run):
    return np.frombuffer(run.stdout, "<f4")


def lines(rows):
    return "".join(json.dumps(list(map(int, row))) + "\n" for row in rows).encode()


def expected(codec, codes):
    return codec.decode(codec.from_codes(codes))


@pytest.mark.parametrize("form", ["uint16", "json"])
def test_rows_are_heard_as_offline(codec, codes, form):
    rows = apply(codes, DIA)
    data = rows.astype("<u2").tobytes() if form == "uint16" else lines(rows)
    run = decode(data, "--rows", form)
    assert (run.returncode, run.stderr) == (0, b"")
    np.testing.assert_allclose(heard(run), expected(codec, codes), rtol=0, atol=1e-4)


def test_nothing_is_held_back(codec, codes):
    process = subprocess.Popen(
        [*COMMAND, "stream", "decode", "--layout", "dia", "--model", "builtin", "--rows", "json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    with process:
        n_rows = 1 + DIA.max_delay + codec.geometry.decoder_lookahead
        process.stdin.write(lines(apply(codes, DIA)[:n_rows]))
        process.stdin.flush()
        assert len(process.stdout.read(100)) == 100  # would block if it were held back
        process.stdin.close()
        process.stdout.read()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data + b"[1, 2]\n", b"a row of layout 'dia' has 9 ids, got 2 (at row 30)"),
        (
            lambda data: data + b"{}\n",
            b"not a list of ids in JSON, such as [1, 2, 3] on a line of its own (at row 30)",
        ),
        (lambda data: data + b"[" * 70000, b"not a list of ids"),
        (
            lambda data: data + b"[1.5, 2, 3, 4, 5, 6, 7, 8, 9]\n",
            b"ids must be integers, got float64 (at row 30)",
        ),
        (lambda data: data + b'["a", 2, 3, 4, 5, 6, 7, 8, 9]\n', b"ids must be integers"),
        (lambda data: data + b"[[1], 2, 3, 4, 5, 6, 7, 8, 9]\n", b"at row 30"),
    ],
)
def test_a_wrong_row_is_named_after_the_audio_before_it(codec, codes, spoil, says):
    run = decode(spoil(lines(apply(codes, DIA)[:30])), "--rows", "json")
    assert run.returncode != 0
    assert says in run.stderr
    assert run.stderr.count(b"\n") == 1
    np.testing.assert_allclose(heard(run), expected(codec, codes[:, : 29 - 15]), rtol=0, atol=1e-4)


def test_what_comes_after_the_end_and_what_is_cut_off(codec, codes):
    rows = apply(codes, DIA).astype("<u2")
    run = decode(np.concatenate([rows, rows[17:18]]).tobytes())
    assert run.returncode != 0
    assert f"codes after the end of the signal in row {len(rows) - 1}".encode() in run.stderr
    np.testing.assert_allclose(heard(run), expected(codec, codes), rtol=0, atol=1e-4)
    run = decode(rows[:30].tobytes() + b"1")
    assert b"1 bytes are left at the end, a row of 'dia' has 18 (at row 30)" in run.stderr
    np.testing.assert_allclose(heard(run), expected(codec, codes[:, : 29 - 15]), rtol=0, atol=1e-4)
    assert decode(b"").returncode == 0


def test_bad_ids_are_told_and_sound_goes_on(codec, codes):
    rows = apply(codes, DIA)
    rows[20, 0] = 1027
    run = decode(lines(rows), "--rows", "json")
    assert run.returncode == 0
    assert b"id 1027 at row 20, codebook 0 is no code (1 such ids)" in run.stderr
    mended = codes.copy()
    mended[0, 19] = codes[0, 18]
    np.testing.assert_allclose(heard(run), expected(codec, mended), rtol=0, atol=1e-4)


def test_usage():
    run = dacodec("stream", "decode", "--layout", "dia", input="")
    assert run.returncode == 2
    assert "which codec" in run.stderr
    run = dacodec("stream", "decode", "--layout", "dai", "--model", "builtin", input="")
    assert "there are musicgen, parler-tts, dia, higgs-audio" in run.stderr
    run = dacodec("stream", "decode", "--layout", "dia", "--model", "builtin", "--rows", "xml", input="")
    assert "uint16, json" in run.stderr
    run = dacodec("stream", "decode", "--layout", "musicgen", "--model", "builtin", input="")
    assert "codebooks" in run.stderr
