"""Exported files, run by ONNX Runtime and by torch.export, beside the model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from codes import assert_same_codes
from command import dacodec
from models import SHAPES, save_model
from weights import random_audio

from dacodec import DacModel, errors
from dacodec.export import export_model
from dacodec.export.streaming import StreamingDecoder, StreamingEncoder

PIECES = (1, 5, 2, 19, 8)  # frames in each push
FRAMES = sum(PIECES)
UNKNOWN = 1 << 40
HEADERS = Path(os.environ.get("ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime")).absolute()


def session(folder, name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def builtin(tmp_path_factory):
    """The built-in model, exported by the command; its folder and what the command printed."""
    folder = tmp_path_factory.mktemp("builtin") / "export"
    run = dacodec("export", "builtin", "-o", folder, "--half", "--streaming")
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


@pytest.fixture(scope="module", params=SHAPES)
def exported(request, tmp_path_factory):
    """Each released shape, narrow, and one with odd strides: the model and the folder."""
    folder = tmp_path_factory.mktemp(request.param)
    save_model(folder / "model", **SHAPES[request.param])
    report = export_model(folder / "model", folder / "export", streaming=True)
    return DacModel.from_pretrained(folder / "model"), folder / "export", report


@torch.inference_mode()
def test_codes_and_audio_are_the_models(exported):
    """With both axes and the number of codebooks other than in any example."""
    model, folder, _ = exported
    for batch, frames in ((3, FRAMES), (1, 9)):
        audio = random_audio(1, batch, frames * model.config.hop_length)
        reference = model.encode(audio).audio_codes
        (codes,) = session(folder, "encoder").run(None, {"audio": audio.numpy()})
        latents = model.encoder(audio)
        assert_same_codes(torch.from_numpy(codes), reference, latents, latents, model.state_dict())
        for k in (1, model.config.n_codebooks):
            decoded = model.decode(audio_codes=reference[:, :k]).audio_values
            (sound,) = session(folder, "decoder").run(None, {"codes": reference[:, :k].numpy()})
            np.testing.assert_allclose(sound[:, 0], decoded, atol=4e-6)


@torch.inference_mode()
def test_pieces_give_what_the_whole_gives(exported):
    """In ONNX Runtime and in PyTorch, whether the length is known or not."""
    model, folder, _ = exported
    hop = model.config.hop_length
    audio = random_audio(2, 1, FRAMES * hop)
    codes = model.encode(audio).audio_codes
    decoded = model.decode(audio_codes=codes).audio_values[:, None]
    encoder, decoder = StreamingEncoder(model).eval(), StreamingDecoder(model).eval()
    for run in (of_onnx(session(folder, "decoder_stream")), of_torch(decoder)):
        made = in_pieces(run, codes, 1, decoder.state_size, decoder.flush_frames)
        made = made[:, :, decoder.delay_samples :][:, :, : decoded.shape[2]]
        np.testing.assert_allclose(made, np.concatenate([decoded, decoded]), atol=4e-6)
    for run in (of_onnx(session(folder, "encoder_stream")), of_torch(encoder)):
        made = in_pieces(run, audio, hop, encoder.state_size, encoder.delay_frames)
        made = torch.from_numpy(made[:, :, encoder.delay_frames :][:, :, :FRAMES])
        latents = model.encoder(audio)
        for row in made:
            assert_same_codes(row[None], codes, latents, latents, model.state_dict())


def in_pieces(run, signal, unit, state_size, flush_frames):
    """Push ``signal`` as two rows; the first learns its length at the end, the second knows it from the start."""
    state, made, frame = np.zeros((2, state_size), np.float32), [], 0
    rubbish = np.ones((1, signal.shape[1], flush_frames * unit), signal.numpy().dtype)
    line = np.concatenate([signal.numpy(), rubbish], 2)
    for n in (*PIECES, flush_frames):
        piece = np.ascontiguousarray(line[:, :, frame * unit : (frame + n) * unit].repeat(2, 0))
        total = FRAMES if frame >= FRAMES else UNKNOWN
        output, state = run(piece, state, np.full(2, frame), np.array([total, FRAMES]))
        made.append(output)
        frame += n
    return np.concatenate(made, 2)


def of_onnx(session):
    names = [given.name for given in session.get_inputs()]
    return lambda *values: session.run(None, dict(zip(names, values, strict=True)))


def of_torch(module):
    return lambda *values: [made.numpy() for made in module(*map(torch.from_numpy, values))]


def test_the_report_says_so(exported):
    _, folder, report = exported
    rows = {row.what: row for row in report.rows}
    assert {f"{name}.onnx" for name in ("encoder", "decoder", "encoder_stream", "decoder_stream")} <= set(
        rows
    )
    for row in rows.values():
        assert row.agreeing_codes is None or row.agreeing_codes > 0.999, row
        assert row.largest_error is None or row.largest_error < 4e-6, row
        assert row.times_real_time > 0
    assert json.loads((folder / "report.json").read_text())["rows"][0]["what"] == "encoder.onnx"
    assert report.table() in (folder / "report.md").read_text()


def test_a_decoder_that_begins_in_mid_signal_is_exact_after_the_halo(builtin):
    folder, _ = builtin
    card = json.loads((folder / "report.json").read_text())["model"]
    codes = np.random.default_rng(0).integers(0, 1024, (1, 9, 70))
    (whole,) = session(folder, "decoder").run(None, {"codes": codes})
    start, halo = 30, card["decoder_halo_frames"]
    state = np.zeros((1, card["decoder_state"]), np.float32)
    given = {"codes": codes[:, :, start:], "state": state, "first_frame": np.array([start])}
    (sound, _) = session(folder, "decoder_stream").run(None, {**given, "n_frames": np.array([UNKNOWN])})
    first = start * 512 - card["decoder_delay_samples"]
    exact = whole[:, :, first + halo * 512 : first + sound.shape[2]]
    np.testing.assert_allclose(sound[:, :, halo * 512 :], exact, atol=4e-6)


def test_files_describe_themselves(builtin):
    folder, printed = builtin
    model = onnx.load(folder / "encoder.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert (properties["name"], properties["licence"]) == ("small-3", "MIT")
    assert re.fullmatch("[0-9a-f]{64}", properties["fingerprint"])
    assert json.loads(properties["config"])["hop_length"] == 512
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"audio": ["batch", 1, "samples"], "codes": ["batch", 9, "frames"]}
    assert all(value.doc_string for value in (*model.graph.input, *model.graph.output))
    assert "decoder_stream.onnx" in printed
    assert (folder / "codes.prior").stat().st_size > 1e6


def test_half_takes_half_and_loses_nothing_that_was_stored_in_half(builtin):
    """The built-in model's convolutions are."""
    folder, _ = builtin
    sizes = {path.stem: path.stat().st_size for path in folder.glob("*.onnx")}
    assert max(sizes.values()) < 14e6
    rows = {row["what"]: row for row in json.loads((folder / "report.json").read_text())["rows"]}
    assert rows["encoder.onnx"]["agreeing_codes"] > 0.999
    assert rows["decoder_stream.onnx"]["largest_error"] < 4e-6


def test_half_rounds_other_models(tmp_path):
    save_model(tmp_path / "model", **SHAPES["24khz"])
    report = export_model(tmp_path / "model", tmp_path / "export", half=True)
    rows = {row.what: row for row in report.rows}
    assert 0.9 < rows["encoder.onnx"].agreeing_codes < 1
    assert 1e-6 < rows["decoder.onnx"].largest_error < 1e-2


def test_the_readme_runs(builtin):
    """Its Python; JavaScript is run by player-test, Rust and Swift nowhere."""
    folder, _ = builtin
    text = (folder / "README.md").read_text()
    assert "$" not in text.replace("$0", "")
    for language in ("cpp", "javascript", "rust", "swift"):
        assert f"```{language}\n" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == "(1, 9, 86) (1, 1, 44032)"


@pytest.mark.skipif(
    not (HEADERS / "onnxruntime_cxx_api.h").exists(), reason="no headers: scripts/onnxruntime_headers.sh"
)
def test_the_readmes_cpp_runs(builtin, tmp_path):
    """Compiled with ONNX Runtime's headers, linked with the library in the Python package."""
    folder, _ = builtin
    code = re.search(r"```cpp\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    (tmp_path / "x.cpp").write_text(code)
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)  # the name it gives itself
    compiler = ["c++", "-std=c++17", "-I", HEADERS, "x.cpp", "-o", "x"]
    compiler += ["libonnxruntime.so.1", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "x"], cwd=folder, capture_output=True, text=True, check=True)
    assert run.stdout == "44032 samples\n"


@torch.inference_mode()
def test_torch_export(tmp_path):
    """One stride alone: tracing takes long."""
    folder = save_model(tmp_path / "model", downsampling_ratios=(3,), n_codebooks=2, decoder_hidden_size=8)
    export_model(folder, tmp_path / "export", format="torch-export", streaming=True)
    model = DacModel.from_pretrained(folder)
    extra = {"metadata.json": ""}
    decoder = torch.export.load(tmp_path / "export/decoder.pt2", extra_files=extra).module()
    assert json.loads(extra["metadata.json"])["name"] == "model"
    codes = torch.randint(0, 64, (3, 1, 41))
    torch.testing.assert_close(decoder(codes)[:, 0], model.decode(audio_codes=codes).audio_values)
    rows = json.loads((tmp_path / "export/report.json").read_text())["rows"]
    assert [row["what"] for row in rows[:4]] == [
        "encoder.pt2",
        "decoder.pt2",
        "encoder_stream.pt2",
        "decoder_stream.pt2",
    ]
    assert all(row["largest_error"] < 4e-6 for row in rows if row["largest_error"] is not None)
    assert all(row["agreeing_codes"] > 0.999 for row in rows if row["agreeing_codes"] is not None)


def test_over_2_gb_weights_go_beside(tmp_path, monkeypatch):
    monkeypatch.setattr("dacodec.export.onnx_files._MOST_BYTES", 20_000)
    save_model(tmp_path / "model", **SHAPES["odd"])
    export_model(tmp_path / "model", tmp_path / "export")
    assert (tmp_path / "export/decoder.onnx.data").stat().st_size > 10_000
    assert (tmp_path / "export/decoder.onnx").stat().st_size < 30_000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"format": "tflite"}, errors.ConfigError, "onnx, torch-export"),
        ({"format": "torch-export", "half": True}, errors.ConfigError, "leave it out"),
    ],
)
def test_wrong_wishes(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        export_model("builtin", tmp_path / "x", **options)
    assert not list(tmp_path.iterdir())


def test_an_export_is_not_overwritten_unasked(builtin):
    folder, _ = builtin
    run = dacodec("export", "builtin", "-o", folder)
    assert run.returncode == 7
    assert "holds an export already" in run.stderr


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("dacodec.export.find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(errors.OutputError, match=re.escape("needs onnx: pip install dacodec[export]")):
        export_model("builtin", tmp_path)
