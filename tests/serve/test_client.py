"""The Python client with a real server."""

import io
import json
import socket
import threading

import numpy as np
import pytest
from serving import SPEECH, service_of, serving

from dacodec.audio import read
from dacodec.audio.pcm import pcm_bytes
from dacodec.serve.client import Client, ServiceError
from dacodec.serve.limits import Limits


def test_there_and_back(codec, address, tmp_path):
    client = Client(address)
    dacz = client.encode(SPEECH.read_bytes(), n_quantizers=4)
    codec.encode_file(SPEECH, tmp_path / "x.dacz", n_quantizers=4)
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav")
    assert dacz == (tmp_path / "x.dacz").read_bytes()
    assert client.decode(dacz) == (tmp_path / "x.wav").read_bytes()
    assert np.load(io.BytesIO(client.decode(dacz, format="npy"))).shape[:2] == (1, 4)
    assert client.models()[0]["name"] == codec.model.name
    client.encode(SPEECH.read_bytes(), mid_side=False)


def test_streams(codec, address):
    samples, rate = read(SPEECH)
    samples = samples[:, :rate]
    client = Client(address)
    with client.stream("encode", rate=rate, output="codes", raw="f32le") as stream:
        stream.send(pcm_bytes(samples, "f32le"))
        stream.end()
        codes = np.frombuffer(b"".join(stream), "<u2").reshape(-1, 1, 9).transpose(1, 2, 0)
    assert np.array_equal(codes, codec.encode(samples, rate).codes)
    assert stream.facts["n_samples"] == rate
    assert stream.facts["latency_seconds"] > 0.09


def test_error_responses_are_exceptions_with_their_remedy(address):
    client = Client(address)
    with pytest.raises(ServiceError, match="WAV") as caught:
        client.encode(b"not a recording")
    assert (caught.value.status, caught.value.code) == (422, "bad_audio")
    with pytest.raises(ServiceError) as caught:
        client.stream("encode", rate=1)
    assert caught.value.code == "bad_rate"
    with client.stream("decode") as stream:
        stream.send(b"not a .dacz file")
        with pytest.raises(ServiceError, match="dacz"):
            list(stream)
    with pytest.raises(ServiceError) as caught:
        Client(address).encode(b"x", format="mp3")
    assert caught.value.code == "bad_parameter"


def test_it_retries_while_the_service_is_busy(codec):
    with serving([codec], limits=Limits(requests=1)) as server:
        slot = service_of(server).admission.request()
        with pytest.raises(ServiceError) as caught:
            Client(server.address, retries=0).encode(SPEECH.read_bytes())
        assert caught.value.status == 429
        threading.Timer(0.5, slot.release).start()
        assert Client(server.address).encode(SPEECH.read_bytes())


def test_a_service_that_hangs_up_or_is_not_running():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def hang_up():
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ConnectionError):
            Client(address).encode(b"x")
        thread.join()
    with pytest.raises(ConnectionError):
        Client(address).encode(b"x")


def test_json_codes(address):
    codes = json.loads(Client(address).encode(SPEECH.read_bytes(), format="json"))
    assert Client(address).decode(json.dumps(codes).encode())[:4] == b"RIFF"
