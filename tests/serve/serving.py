"""A real server on a real port, and simple ways to send it requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

CLIPS = Path(__file__).parents[1] / "data" / "clips"
SPEECH = CLIPS / "speech_en_cards_16k.flac"  # 3.5 s
STEREO = CLIPS / "music_guitar_strum_96k_24bit_st.flac"  # 1.5 s


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@contextlib.contextmanager
def serving(codecs, **options):
    """A server, running in a thread."""
    from dacodec.serve.server import make_server

    up = threading.Event()
    server = make_server(codecs, port=0, started=lambda _: up.set(), **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert up.wait(30)
        yield server
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def command(*args, port=0):
    """``dacodec serve`` in a process of its own: the process, and its address or, if it ended, its errors."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("DACODEC_API_KEY", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "dacodec", "serve", "--port", str(port), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        address = re.search(r"http://\S+:\d+", process.stdout.readline())
        yield process, address[0] if address else process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def metric(address, name):
    """The current value of a metric without labels."""
    for line in request(address, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise KeyError(name)


def service_of(server):
    return server.config.app.state.service


def request(address, method, path, body=None, headers=None, timeout=120, **query):
    if query:
        path += "?" + urlencode(query)
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers.items()), response.read())
    finally:
        connection.close()


def post(address, path, body, headers=None, **query):
    return request(address, "POST", path, body, headers, **query)


def problem(answer, status, code):
    """Assert that an answer is this problem, and return its JSON."""
    assert answer.status == status, (answer.status, answer.body[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json
    assert told["code"] == code, told
    assert told["status"] == status
    assert told["detail"]
    assert told["remedy"]
    return told


def raw(address, data, half_closed=False, timeout=20):
    """Send bytes and return what comes back until the connection closes."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as connection:
        connection.sendall(data)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                received += part
        return received


def stream(address, path, messages, headers=None, max_size=None, **query):
    """Send ``messages`` to a stream and return its text messages, parsed, and all its bytes."""
    url = address.replace("http", "ws", 1) + path + ("?" + urlencode(query) if query else "")
    texts, data = [], b""
    with connect(url, max_size=max_size, additional_headers=headers or {}, open_timeout=60) as socket:
        sender = threading.Thread(target=_send_all, args=(socket, messages))
        sender.start()
        with contextlib.suppress(ConnectionClosedError):  # closed with a code other than 1000
            for message in socket:
                if isinstance(message, str):
                    texts.append(json.loads(message))
                else:
                    data += message
        sender.join()
    return texts, data


def _send_all(socket, messages):
    with contextlib.suppress(Exception):  # it may have been closed for what was sent
        for message in messages:
            socket.send(message)
