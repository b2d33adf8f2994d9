"""Every limit holds, and other clients do not notice."""

import io
import socket
import struct
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from serving import SPEECH, post, problem, raw, request, service_of, serving, stream
from websockets.sync.client import connect

from dacodec.audio import write
from dacodec.serve.limits import MIB, Limits

LIMITS = Limits(
    body_bytes=MIB,
    json_bytes=10000,
    memory_bytes=4 * MIB,
    audio_seconds=5,
    channels=2,
    requests=2,
    sessions=1,
    message_bytes=1 << 16,
)


@pytest.fixture(scope="module")
def limited(codec):
    """Little of everything but time: the machine may be busy."""
    with serving([codec], limits=LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(codec):
    limits = replace(LIMITS, header_seconds=1, body_seconds=3, idle_seconds=2, session_seconds=4)
    with serving([codec], limits=limits) as server:
        yield server


def wav(samples, rate=16000):
    file = io.BytesIO()
    write(file, samples, rate)
    return file.getvalue()


def test_bytes(limited):
    problem(post(limited.address, "/v1/encode", bytes(MIB + 1)), 413, "too_large")
    lying = b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in raw(limited.address, lying).splitlines()[0]
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    endless = (
        b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + 20 * chunk
    )
    assert b" 413 " in raw(limited.address, endless).splitlines()[0]
    codes = b'{"codes": [' + b"1," * 10000 + b"1]}"
    problem(post(limited.address, "/v1/decode", codes), 413, "too_large")


def test_memory_of_results(limited, codec):
    """A small file that decodes to more than the memory limit."""
    encoded = codec.encode(np.zeros((2, 44100 * 4), np.float32), 44100)
    wide = {"codes": encoded.codes[:, :1].tolist(), "sampling_rate": 192000}
    limits = Limits(memory_bytes=4 * MIB)
    with serving([codec], limits=limits) as server:
        problem(post(server.address, "/v1/decode", repr(wide).replace("'", '"').encode()), 413, "too_large")
        assert service_of(server).admission.held_bytes == 0


def test_seconds_channels_and_rates(limited):
    address = limited.address
    problem(post(address, "/v1/encode", wav(np.zeros((1, 81000)))), 413, "too_long")
    assert post(address, "/v1/encode", wav(np.zeros((1, 80000)))).status == 200
    problem(post(address, "/v1/encode", wav(np.zeros((3, 100)))), 422, "too_many_channels")
    problem(post(address, "/v1/encode", wav(np.zeros((1, 100)), 300)), 422, "bad_rate")
    problem(post(address, "/v1/encode", wav(np.zeros((1, 100)), 384000)), 422, "bad_rate")
    ten_hours = bytearray(wav(np.zeros((1, 1000))))
    ten_hours[40:44] = struct.pack("<I", 36000 * 16000 * 2)  # of which there are 1000 samples
    told = post(address, "/v1/encode", bytes(ten_hours))
    assert told.status in (413, 422)
    silence = io.BytesIO()
    write(silence, np.zeros((1, 16000 * 3600), np.float32), 16000, format="flac")
    assert len(silence.getvalue()) < MIB  # an hour in a few kilobytes
    problem(post(address, "/v1/encode", silence.getvalue()), 413, "too_long")
    codes = np.zeros((1, 1, 1000), np.uint16)
    file = io.BytesIO()
    np.save(file, codes)
    problem(post(address, "/v1/decode", file.getvalue()), 413, "too_long")


def test_slots_run_out_and_are_freed(impatient):
    """Two slow clients hold both slots. A third is told when to retry; then the slow ones time out."""
    head = b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    slow = [_connected(impatient.address) for _ in range(2)]
    for connection in slow:
        connection.sendall(head + b"x")
    _until(lambda: service_of(impatient).admission.requests == 2)
    answer = post(impatient.address, "/v1/encode", SPEECH.read_bytes())
    problem(answer, 429, "busy")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert request(impatient.address, "GET", "/readyz").status == 503
    assert request(impatient.address, "GET", "/healthz").status == 200
    for connection in slow:
        assert b" 408 " in connection.recv(65536)
        connection.close()
    _until(lambda: service_of(impatient).admission.requests == 0)
    assert post(impatient.address, "/v1/encode", SPEECH.read_bytes()).status == 200


def test_a_silent_client_is_disconnected(impatient):
    for data in (b"", b"POST /v1/enc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with _connected(impatient.address) as connection:
            connection.sendall(data)
            began, received = time.monotonic(), b""
            while part := _recv(connection):
                received += part
            assert time.monotonic() - began < 15
            assert (b"200 OK" in received) == (b"healthz" in data)


def test_a_client_that_does_not_read_is_disconnected(codec):
    limits = Limits(send_seconds=1)
    with serving([codec], limits=limits) as server:
        codes = codec.encode(np.zeros(codec.sampling_rate * 2), codec.sampling_rate, n_quantizers=1).codes
        file = io.BytesIO()
        np.save(file, np.tile(codes, 6))
        body = file.getvalue()
        head = f"POST /v1/decode?subtype=FLOAT&sampling_rate=192000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", int(server.address.rsplit(":", 1)[1])))
            connection.sendall(head.encode() + body)
            admission = service_of(server).admission
            _until(lambda: admission.requests == 1)
            _until(lambda: admission.requests == 0, seconds=120)  # while the client is still connected
            assert admission.held_bytes == 0


def test_the_work_of_a_client_that_disconnects_is_dropped(limited, codec):
    """While it is queued, or before the body is complete: the slot is freed."""
    service = service_of(limited)
    body = wav(np.zeros((2, 5 * 16000)))
    head = f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    gone = service.metrics.gone._value.get()
    for half in (head + body, head + body[:100]):
        with _connected(limited.address) as connection:
            connection.sendall(half)
            _until(lambda: service.admission.requests == 1)
        _until(lambda: service.admission.requests == 0)
    assert service.metrics.gone._value.get() == gone + 2
    assert service.admission.held_bytes == 0


def test_streams(impatient):
    url = impatient.address.replace("http", "ws") + "/v1/stream/encode"
    with connect(url) as first:
        first.recv()
        with pytest.raises(Exception, match="429"), connect(url):
            pass
    _until(lambda: service_of(impatient).admission.sessions == 0)
    texts, _ = stream(impatient.address, "/v1/stream/encode", [])  # and no message
    assert texts[-1]["code"] == "too_slow"
    for query in (dict(channels=3), dict(rate=1000), dict(rate=384000)):
        with pytest.raises(Exception, match="422"):
            stream(impatient.address, "/v1/stream/encode", [], **query)
    with connect(url) as socket:
        socket.recv()
        socket.send(bytes(LIMITS.message_bytes + 1))
        with pytest.raises(Exception, match="1009"):
            socket.recv()
    _until(lambda: service_of(impatient).admission.sessions == 0)
    texts, _ = stream(impatient.address, "/v1/stream/encode", _slowly())
    assert texts[-1]["code"] == "too_long"
    _until(lambda: service_of(impatient).admission.sessions == 0)


def _slowly():
    for _ in range(20):
        yield bytes(200)
        time.sleep(0.3)


def test_a_long_recording_does_not_delay_a_short_one(codec):
    """It is coded chunk by chunk, and a request that comes later is in the very next turn."""
    with serving([codec]) as server:
        worker = service_of(server).worker
        coded, both_queued = [], threading.Event()

        def on_batch(n, seconds):
            coded.append(seconds)
            both_queued.wait(60)

        worker._on_batch = on_batch
        posting = [_posting(server, 10)]
        _until(lambda: coded and worker.waiting == 1)
        posting.append(_posting(server, 0.3))
        _until(lambda: worker.waiting == 2)
        both_queued.set()
        for thread in posting:
            thread.join()
    assert min(coded[:3]) < 0.5 < max(coded[1:3])
    assert len(coded) >= 10


def _posting(server, seconds):
    body = wav(np.zeros((1, round(seconds * 16000))))
    thread = threading.Thread(target=post, args=(server.address, "/v1/encode", body))
    thread.start()
    return thread


def _connected(address):
    return socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=20)


def _recv(connection):
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def _until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)
