"""The real command: what it tells, whom it lets in, and how it ends."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from serving import SPEECH, post, problem, request
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dacodec.audio import read, write

KEY = "a-key-for-the-tests-0123"


@contextlib.contextmanager
def command(*args, key=None, host="127.0.0.1"):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("DACODEC_API_KEY", None)
    if key:
        environment["DACODEC_API_KEY"] = key
    process = subprocess.Popen(
        [sys.executable, "-m", "dacodec", "serve", "--port", "0", "--host", host, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://\S+:\d+", line)
        yield process, address[0].replace("0.0.0.0", "127.0.0.1") if address else process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def running():
    with command() as started:
        yield started


def test_what_readers_warn_of_is_told_to_the_client(running):
    _, address = running
    file = io.BytesIO()
    write(file, read(SPEECH).samples, 16000)
    wrong = bytearray(file.getvalue())
    wrong[40:44] = (1000).to_bytes(4, "little")  # the header claims less than there is
    answer = post(address, "/v1/encode", bytes(wrong))
    assert answer.status == 200
    assert "claims 1000 bytes" in answer.headers["dacodec-warning"]


def test_sigterm_finishes_what_runs_and_refuses_what_comes(running):
    process, address = running
    file = io.BytesIO()
    write(file, read(SPEECH).samples.repeat(6, 1), 16000)
    alone = post(address, "/v1/encode", file.getvalue())
    answers, ends = [], []

    def ask():
        answers.append(post(address, "/v1/encode", file.getvalue()))

    def listen():
        with connect(address.replace("http", "ws") + "/v1/stream/encode") as socket:
            try:
                while True:
                    socket.recv()
            except ConnectionClosed as closed:
                ends.append(closed.rcvd.code)

    threads = [threading.Thread(target=target) for target in (ask, ask, listen)]
    for thread in threads:
        thread.start()
    while b"dacodec_requests_open 2.0\ndacodec" not in _gauges(address):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        request(address, "GET", "/healthz")
    for thread in threads:
        thread.join()
    assert [answer.body for answer in answers] == [alone.body] * 2
    assert ends == [1012]  # "service restart": a stream has no end to wait for
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def _gauges(address):
    lines = request(address, "GET", "/metrics").body.splitlines()
    kept = [line for line in lines if line.startswith((b"dacodec_requests_open", b"dacodec_streams_open"))]
    return b"\n".join(kept)


def test_an_address_for_others_needs_a_key():
    with command(host="0.0.0.0") as (process, told):
        assert process.wait(60) == 1
        assert "DACODEC_API_KEY" in told
    with command(host="0.0.0.0", key="short") as (process, told):
        assert process.wait(60) == 1
        assert "16 or more" in told


def test_the_key():
    with command(host="0.0.0.0", key=KEY) as (_, address):
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
        with connect(url, subprotocols=["dacodec", f"dacodec.key.{KEY}"]) as socket:  # as browsers can
            assert socket.subprotocol == "dacodec"
