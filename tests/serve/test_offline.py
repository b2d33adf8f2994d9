"""Whole recordings over HTTP give the library's results, byte for byte."""

import io
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from serving import CLIPS, SPEECH, STEREO, post, problem, request, service_of

from dacodec import Encoded
from dacodec.audio import read, write
from dacodec.container import MID_SIDE, Reader


@pytest.fixture(scope="module")
def files(codec, tmp_path_factory):
    """For each clip its .dacz file and that decoded, by the library."""
    folder, made = tmp_path_factory.mktemp("files"), {}
    for clip in (SPEECH, STEREO):
        codec.encode_file(clip, folder / f"{clip.stem}.dacz")
        codec.decode_file(folder / f"{clip.stem}.dacz", folder / f"{clip.stem}.wav")
        made[clip] = [(folder / f"{clip.stem}.{kind}").read_bytes() for kind in ("dacz", "wav")]
    return made


@pytest.mark.parametrize("clip", [SPEECH, STEREO], ids=lambda p: p.stem)
def test_results_equal_the_librarys(clip, files, address):
    dacz, wav = files[clip]
    coded = post(address, "/v1/encode", clip.read_bytes())
    assert coded.status == 200, coded.body
    assert coded.body == dacz
    decoded = post(address, "/v1/decode", coded.body)
    assert decoded.status == 200, decoded.body
    assert decoded.body == wav
    assert int(decoded.headers["dacodec-samples"]) == read(clip).samples.shape[1]


def test_requests_coded_together_give_what_each_gives_alone(codec, server, address):
    """With different lengths, channels, rates and codebooks."""
    cases = []
    for number, clip in enumerate(sorted(CLIPS.glob("*.flac"))):
        samples, rate = read(clip)
        length = round((0.2 + 0.15 * number) * rate)
        file = io.BytesIO()
        write(file, samples[:, rate // 2 : rate // 2 + length], rate)
        cases.append((file.getvalue(), number % 9 + 1))
    cases *= 2
    answers = [None] * len(cases)

    def ask(i):
        body, n_quantizers = cases[i]
        answers[i] = post(address, "/v1/encode", body, n_quantizers=n_quantizers)

    before = _batches(address)
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (body, n_quantizers), answer in zip(cases, answers, strict=True):
        assert answer.status == 200, answer.body
        samples, rate = read(io.BytesIO(body))
        alone = codec.encode(samples, rate, n_quantizers=n_quantizers)
        assert np.array_equal(Reader(io.BytesIO(answer.body)).read_codes(), alone.codes)
    pieces, batches = (b - a for a, b in zip(before, _batches(address), strict=True))
    assert batches < pieces  # some were coded together
    service = service_of(server)
    assert service.admission.requests == service.admission.held_bytes == 0


def _batches(address):
    """Chunks coded so far, and in how many batches."""
    lines = dict(
        line.rsplit(" ", 1) for line in request(address, "GET", "/metrics").body.decode().splitlines()
    )
    return float(lines["dacodec_batch_size_sum"]), float(lines["dacodec_batch_size_count"])


@pytest.mark.parametrize(("format", "subtype"), [("wav", "FLOAT"), ("wav", "PCM_24"), ("flac", "PCM_24")])
def test_formats_of_decoded_audio(format, subtype, files, codec, address, tmp_path):
    dacz, _ = files[SPEECH]
    (tmp_path / "x.dacz").write_bytes(dacz)
    codec.decode_file(tmp_path / "x.dacz", tmp_path / f"x.{format}", subtype=subtype)
    answer = post(address, "/v1/decode", dacz, format=format, subtype=subtype)
    ours, theirs = (soundfile.SoundFile(f) for f in (io.BytesIO(answer.body), tmp_path / f"x.{format}"))
    assert ours.subtype == subtype
    assert np.array_equal(ours.read(dtype="float64"), theirs.read(dtype="float64"))


def test_opus(files, address):
    answer = post(address, "/v1/decode", files[SPEECH][0], format="opus")
    assert answer.headers["content-type"] == "audio/ogg"
    assert read(io.BytesIO(answer.body)).sampling_rate in (16000, 48000)
    problem(post(address, "/v1/decode", files[STEREO][0], format="opus"), 422, "bad_audio")  # 96 kHz


def test_codes_as_json_and_npy(files, codec, address, tmp_path):
    dacz, wav = files[STEREO]
    (tmp_path / "x.dacz").write_bytes(dacz)
    encoded = Encoded.load(tmp_path / "x.dacz")
    for path, body in (("/v1/encode", STEREO.read_bytes()), ("/v1/decode", dacz)):
        told = post(address, path, body, format="json")
        assert np.array_equal(np.array(told.json["codes"]), encoded.codes)
        array = post(address, path, body, format="npy")
        assert np.array_equal(np.load(io.BytesIO(array.body)), encoded.codes)
    assert told.json["n_samples"] == encoded.n_samples
    assert post(address, "/v1/decode", told.body).body == wav
    bare = dict(sampling_rate=encoded.sampling_rate, n_samples=encoded.n_samples)
    assert post(address, "/v1/decode", array.body, **bare).body == wav
    for dtype, order in (("int64", "C"), (">u2", "C"), ("u1", "F")):
        codes = np.asarray(encoded.codes % 200, dtype, order=order)
        file = io.BytesIO()
        np.save(file, codes)
        expected = codec.decode(codec.from_codes(codes.astype(np.int64)))
        answer = post(address, "/v1/decode", file.getvalue(), subtype="FLOAT")
        assert np.array_equal(read(io.BytesIO(answer.body)).samples, expected)


def test_mid_side_and_bitrate(codec, address):
    answer = post(address, "/v1/encode", STEREO.read_bytes(), mid_side="true", bitrate_kbps=6)
    samples, rate = read(STEREO)
    expected = codec.encode(samples, rate, mid_side=True, bitrate_kbps=6)
    reader = Reader(io.BytesIO(answer.body))
    assert reader.header.channel_coding == MID_SIDE
    assert np.array_equal(reader.read_codes(), expected.codes)
    decoded = read(io.BytesIO(post(address, "/v1/decode", answer.body, subtype="FLOAT").body))
    assert np.array_equal(decoded.samples, codec.decode(expected))


def test_loudness_and_a_part(codec, address, tmp_path):
    """The file is the library's, and so is what a part of it decodes to."""
    part = dict(start_seconds=0.5, duration_seconds=2.25)
    codec.encode_file(SPEECH, tmp_path / "x.dacz", loudness_lufs=-23, **part)
    answer = post(address, "/v1/encode", SPEECH.read_bytes(), loudness_lufs=-23, **part)
    assert answer.body == (tmp_path / "x.dacz").read_bytes()
    assert Reader(io.BytesIO(answer.body)).header.gain != 1
    part = dict(start_seconds=1.1, duration_seconds=0.7)
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav", **part)
    decoded = post(address, "/v1/decode", answer.body, **part)
    assert decoded.body == (tmp_path / "x.wav").read_bytes()
    told = problem(post(address, "/v1/encode", SPEECH.read_bytes(), start_seconds=4), 422, "bad_audio")
    assert "3.5" in told["detail"]


def test_damage_in_a_dacz_file_is_refused_or_concealed(files, codec, address, tmp_path):
    dacz, _ = files[SPEECH]
    wrong = bytearray(dacz)
    wrong[len(dacz) // 2] ^= 0xFF
    problem(post(address, "/v1/decode", bytes(wrong)), 422, "bad_file")
    (tmp_path / "x.dacz").write_bytes(wrong)
    for part in ({}, dict(start_seconds=1, duration_seconds=2)):
        codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav", conceal=True, overwrite=True, **part)
        answer = post(address, "/v1/decode", bytes(wrong), conceal="true", **part)
        assert answer.body == (tmp_path / "x.wav").read_bytes()
        assert " s lost at " in answer.headers["dacodec-warning"]


def test_a_damaged_recording_is_refused_or_kept(address):
    cut = SPEECH.read_bytes()[:30000]
    told = problem(post(address, "/v1/encode", cut), 422, "bad_audio")
    assert "damaged" in told["detail"]
    assert post(address, "/v1/encode", cut, damaged="keep").status == 200


def test_models_state_and_openapi(codec, address):
    told = request(address, "GET", "/v1/models").json
    assert told["models"][0]["name"] == codec.model.name
    assert post(address, "/v1/encode", SPEECH.read_bytes(), model=codec.model.name).status == 200
    problem(post(address, "/v1/encode", b"x", model="/etc/passwd"), 404, "no_such_model")
    for path in ("/healthz", "/readyz"):
        assert request(address, "GET", path).body == b"ok\n"
    paths = request(address, "GET", "/openapi.json").json["paths"]
    assert {"/v1/encode", "/v1/decode", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(paths)
    body = paths["/v1/decode"]["post"]["requestBody"]["content"]["application/json"]
    answer = post(address, "/v1/decode", json.dumps(body["example"]).encode())
    assert answer.status == 200, answer.body  # the documented example works


def test_the_command_says_which_package_is_missing():
    hide = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['dacodec', 'serve']; from dacodec.cli.main import main; main()"
    run = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True)
    assert run.stderr == "dacodec: the service needs uvicorn: pip install dacodec[serve]\n"
    assert run.returncode == 1
