"""The real command: how it starts, whom it lets in, how it ends, and what a crash costs."""

import io
import signal
import threading
import time

import pytest
from serving import SPEECH, command, metric, post, problem, request, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dacodec.audio import read, write
from dacodec.errors import ConfigError
from dacodec.serve.client import Client
from dacodec.serve.server import key_for

KEY = "a-key-for-the-tests-0123"
N_CLIENTS = 4


@pytest.fixture(scope="module")
def running():
    with command() as started:
        yield started


@pytest.fixture(scope="module")
def short():
    """A WAV file of a second."""
    file = io.BytesIO()
    write(file, read(SPEECH).samples[:, :16000], 16000)
    return file.getvalue()


def test_a_reader_warning_reaches_the_client(running, short):
    _, address = running
    wrong = bytearray(short)
    wrong[40:44] = (1000).to_bytes(4, "little")  # the header claims less than there is
    answer = post(address, "/v1/encode", bytes(wrong))
    assert answer.status == 200
    assert "claims 1000 bytes" in answer.headers["dacodec-warning"]


class Crowd:
    """Clients that post one recording again and again. What each gets, in order: a body or an OSError."""

    def __init__(self, address, body):
        self.got = [[] for _ in range(N_CLIENTS)]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._post, args=(Client(address), body, got)) for got in self.got
        ]
        for thread in self._threads:
            thread.start()

    def _post(self, client, body, got):
        while not self._over.is_set():
            try:
                got.append(client.encode(body))
            except OSError as error:
                got.append(error)
                time.sleep(0.1)

    def wait_for_answers(self, after=0):
        """Until each client has an answer among what it got after the first ``after``."""
        end = time.monotonic() + 120
        while not all(any(isinstance(one, bytes) for one in got[after:]) for got in self.got):
            assert time.monotonic() < end
            time.sleep(0.01)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def restarted(running, short):
    """The service again on its port, after it was killed under load; what its clients got, and the right answer."""
    process, address = running
    expected = post(address, "/v1/encode", short).body
    crowd = Crowd(address, short)
    crowd.wait_for_answers()
    process.kill()
    process.wait()
    before = max(len(got) for got in crowd.got)
    with command(port=address.rsplit(":", 1)[1]) as started:
        crowd.wait_for_answers(before + 1)
        crowd.stop()
        yield started, crowd.got, expected


def test_a_crash_loses_only_what_was_in_flight_and_clients_see_it(restarted):
    _, got, expected = restarted
    for one_client in got:
        errors = [one for one in one_client if isinstance(one, OSError)]
        assert all(one == expected for one in one_client if isinstance(one, bytes))
        assert errors  # nothing was lost in silence
        assert sum(not isinstance(error, ConnectionRefusedError) for error in errors) <= 1
        assert isinstance(one_client[-1], bytes)


def test_sigterm_finishes_what_runs_and_refuses_what_comes(restarted):
    (process, address), *_ = restarted
    body = SPEECH.read_bytes()
    alone = post(address, "/v1/encode", body)
    answers, ends = [], []

    def encode():
        answers.append(post(address, "/v1/encode", body))

    def listen():
        with connect(address.replace("http", "ws") + "/v1/stream/encode") as socket:
            try:
                while True:
                    socket.recv()
            except ConnectionClosed as closed:
                ends.append(closed.rcvd.code)

    threads = [threading.Thread(target=target) for target in (encode, encode, listen)]
    for thread in threads:
        thread.start()
    while (metric(address, "dacodec_requests_open"), metric(address, "dacodec_streams_open")) != (2, 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        request(address, "GET", "/healthz")
    for thread in threads:
        thread.join()
    assert [answer.body for answer in answers] == [alone.body] * 2
    assert ends == [1012]  # "service restart": a stream may have no end to wait for
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_an_address_that_others_can_reach_needs_a_key(monkeypatch):
    with command("--host", "0.0.0.0") as (process, errors):
        assert process.wait(60) == 1
        assert "DACODEC_API_KEY" in errors
    monkeypatch.setenv("DACODEC_API_KEY", "short")
    with pytest.raises(ConfigError, match="16 or more"):
        key_for("0.0.0.0")


def test_the_key(codec, monkeypatch):
    monkeypatch.setenv("DACODEC_API_KEY", KEY)
    with serving([codec], host="0.0.0.0") as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        body = SPEECH.read_bytes()
        for path in ("/healthz", "/readyz", "/", "/static/page.js"):
            assert request(address, "GET", path).status == 200
        told = problem(post(address, "/v1/encode", body), 401, "key_missing")
        assert KEY not in str(told)
        for wrong in ("", KEY[:-1], KEY + "x", "é"):
            headers = {"Authorization": f"Bearer {wrong}".encode()}
            problem(post(address, "/v1/encode", body, headers), 401, "key_missing")
        problem(request(address, "GET", "/metrics"), 401, "key_missing")
        assert post(address, "/v1/encode", body, {"Authorization": f"Bearer {KEY}"}).status == 200
        url = address.replace("http", "ws") + "/v1/stream/encode"
        with pytest.raises(Exception, match="401"), connect(url):
            pass
        with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:
            assert "latency_seconds" in socket.recv()
        with connect(url, subprotocols=["dacodec", f"dacodec.key.{KEY}"]) as socket:  # as browsers do
            assert socket.subprotocol == "dacodec"
