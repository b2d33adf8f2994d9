"""Random malformed requests, reproducible from a seed. Used by test_malformed.py and scripts/attack_service.py."""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
from serving import SPEECH, raw, stream

from dacodec.audio import read, write

ALLOWED = {200, 400, 403, 404, 405, 408, 409, 411, 413, 414, 421, 422, 426, 429, 431, 501}
_MOST_SLOW = 4


class Attacker:
    """:meth:`attack` sends one bad request and returns the status, or None if the connection just ended.

    Args:
        dacz: a file that the server can decode.
    """

    def __init__(self, address: str, dacz: bytes, seed: int = 0) -> None:
        self._address, self._random = address, random.Random(seed)
        self._dacz, self._flac = dacz, SPEECH.read_bytes()
        file = io.BytesIO()
        write(file, read(SPEECH).samples[:, :8000], 16000)
        self._wav = file.getvalue()
        self.kinds: list[Callable[[], int | None]] = [
            self.noise,
            self.broken_file,
            self.lying_header,
            self.wrong_query,
            self.wrong_json,
            self.wrong_npy,
            self.lying_length,
            self.half_closed,
            self.broken_http,
            self.bomb,
            self.broken_stream,
            self.wrong_method,
            self.ten_hours,
            self.slow,
            self.reset,
        ]
        self._slow: deque[socket.socket] = deque(maxlen=_MOST_SLOW)

    def attack(self) -> int | None:
        return self._random.choice(self.kinds)()

    def close(self) -> None:
        """Give up the connections that :meth:`slow` keeps open."""
        while self._slow:
            self._slow.popleft().close()

    def noise(self) -> int | None:
        head = self._random.choice(
            [b"", b"fLaC", b"RIFF", b"OggS", b"ID3\4", b"\xff\xfb", b"DACZ", b"\x1aE\xdf\xa3", b"{", b"["]
        )
        return self._post(self._path(), head + self._random.randbytes(self._random.randrange(3000)))

    def broken_file(self) -> int | None:
        data = bytearray(self._random.choice([self._dacz, self._flac[:40000], self._wav]))
        for _ in range(self._random.randrange(1, 6)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        if self._random.random() < 0.5:
            del data[self._random.randrange(len(data)) :]
        return self._post(self._path(), bytes(data))

    def lying_header(self) -> int | None:
        """A WAV file whose header has a wrong size, rate or number of channels."""
        data = bytearray(self._wav)
        place, form = self._random.choice(
            [(4, "<I"), (22, "<H"), (24, "<I"), (28, "<I"), (32, "<H"), (34, "<H"), (40, "<I")]
        )
        most = 0xFFFF if form == "<H" else 0xFFFFFFFF
        struct.pack_into(
            form, data, place, self._random.choice([0, 1, 255, most, most // 2, self._random.randrange(most)])
        )
        return self._post("/v1/encode", bytes(data))

    def ten_hours(self) -> int | None:
        """A header that claims ten hours of audio, and almost none of it."""
        data, n_bytes = bytearray(self._wav), 36000 * 16000 * 2
        struct.pack_into("<I", data, 4, n_bytes + 36)
        struct.pack_into("<I", data, 40, n_bytes)
        return self._post("/v1/encode", bytes(data[: self._random.choice([44, 1000, len(data)])]))

    def wrong_query(self) -> int | None:
        value = self._random.choice(
            ["", "0", "-1", "1e99", "NaN", "inf", "../../etc/passwd", "%00", "%ff%fe", "x" * 3000, "9" * 400]
        )
        key = self._random.choice(
            [
                "model",
                "n_quantizers",
                "bitrate_kbps",
                "format",
                "track",
                "sampling_rate",
                "n_samples",
                "subtype",
                "nothing",
                "",
            ]
        )
        return self._post(f"{self._path()}?{key}={value}", self._random.choice([self._wav, self._dacz]))

    def wrong_json(self) -> int | None:
        codes = [[[1, 2, 3]] * self._random.randrange(1, 12)] * self._random.choice([1, 2, 300])
        wrong = self._random.choice(
            [
                {},
                {"codes": []},
                {"codes": [[]]},
                {"codes": [[[1], [1, 2]]]},
                {"codes": "x"},
                {"codes": [[1.5]]},
                {"codes": None},
                {"codes": [[-1]]},
                {"codes": [[1024]]},
                {"codes": [[10**30]]},
                {"codes": [[True]]},
                {"codes": codes, "n_samples": -5},
                {"codes": codes, "sampling_rate": 10**20},
                {"codes": codes, "gain": 0},
                {"codes": codes, "gain": "x"},
                {"codes": codes, "model": ["x"]},
                {"codes": codes, "mid_side": 1},
                {"x": 1},
                codes,
                [],
                [[[[[[1]]]]]],
            ]
        )
        text = json.dumps(wrong).encode()
        more = self._random.choice(
            [b"", b"", b"x", b"\xff", b"[" * 100000, b'{"codes": [[NaN]]}', b'{"codes": [[1e400]]}']
        )
        return self._post("/v1/decode", more + text if more else text)

    def wrong_npy(self) -> int | None:
        dtype = self._random.choice(
            ["<u2", "<i8", "<f4", "|O", "<U3", "|S4", ">i4", "|b1", "<c8", "i4, (9999999,)i4"]
        )
        shape = self._random.choice(
            [
                "()",
                "(9,)",
                "(1, 9, 100)",
                "(10**12, 2)",
                "(-1, 5)",
                "(1 << 40, 9)",
                "5",
                "'x'",
                "(1, 999999999999, 3)",
                "(0, 5)",
                "__import__('os')",
            ]
        )
        header = f"{{'descr': {dtype!r}, 'fortran_order': {self._random.choice(['True', 'False', '7'])}, 'shape': {shape}}}"
        header = self._random.choice([header, header[:-3], "(" * 3000, "{}", "[]", ""])
        length = self._random.choice([len(header), 0, 65535])
        body = b"\x93NUMPY" + self._random.choice([b"\1\0", b"\2\0", b"\x09\0"]) + struct.pack("<H", length)
        return self._post(
            "/v1/decode", body + header.encode() + self._random.randbytes(self._random.choice([0, 18, 1800]))
        )

    def lying_length(self) -> int | None:
        """A Content-Length that is no number, too large, too small, or there twice."""
        length = self._random.choice(
            ["-1", "x", "1e3", "99999999999999999999", "5", "0", "5\r\nContent-Length: 6", "+10", ""]
        )
        return self._raw(
            f"POST {self._path()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
            + self._wav,
            True,
        )

    def half_closed(self) -> int | None:
        """Part of a body, or all of it, and then the sending side is closed."""
        n = self._random.choice([0, 10, len(self._wav) // 2, len(self._wav)])
        head = f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self._wav)}\r\n\r\n".encode()
        return self._raw(head + self._wav[:n], True)

    def slow(self) -> int | None:
        """Part of a head or body, or a request whose response nobody reads. Stays open during the next attacks."""
        if len(self._slow) == _MOST_SLOW:
            self._slow.popleft().close()
        connection = self._connect()
        head = f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self._wav)}\r\n\r\n".encode()
        whole = self._random.choice([head + self._wav, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"])
        connection.sendall(whole[: self._random.choice([1, 20, len(head) + 10, len(whole)])])
        self._slow.append(connection)
        for other in self._slow:  # one more byte from each
            with contextlib.suppress(OSError):
                other.send(b"x")
        return None

    def reset(self) -> int | None:
        """A connection that is reset in the middle of its request, or before its response."""
        head = f"POST {self._path()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self._wav)}\r\n\r\n".encode()
        whole = head + self._wav
        with self._connect() as connection:
            connection.sendall(whole[: self._random.choice([10, len(head) + 10, len(whole)])])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return None

    def broken_http(self) -> int | None:
        data = self._random.choice(
            [
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                b"GET\r\n\r\n",
                b"\r\n" * 100,
                b"GET / HTTP/9.9\r\n\r\n",
                b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\nx",
                b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
                b"GET /static/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                b"GET /static/%2e%2e/app.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n",
                b"GET /v1/stream/encode HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
                b"GET /v1/stream/encode HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                self._random.randbytes(200),
            ]
        )
        return self._raw(data, True)

    def bomb(self) -> int | None:
        """A small body that would grow: compressed (the service does not decompress), long silence, many channels."""
        kind = self._random.randrange(3)
        if kind == 0:
            import gzip

            return self._post("/v1/encode", gzip.compress(bytes(1 << 20)), "Content-Encoding: gzip\r\n")
        file = io.BytesIO()
        shape = (1, 16000 * 700) if kind == 1 else (8, 8000)
        write(file, np.zeros(shape, np.float32), 16000, format="flac")
        return self._post("/v1/encode", file.getvalue())

    def broken_stream(self) -> int | None:
        """Nonsense in a stream's messages; gives the status of the problem."""
        path, query = self._random.choice(
            [
                ("encode", {}),
                ("encode", {"raw": "f32le", "channels": 2}),
                ("decode", {}),
                ("decode", {"input": "codes"}),
                ("decode", {"layout": "dia"}),
                ("decode", {"layout": "dia", "rows": "json"}),
                ("decode", {"conceal": "true"}),
            ]
        )
        cut = self._dacz[: self._random.randrange(len(self._dacz))]
        messages = [
            self._random.choice(
                [self._random.randbytes(self._random.randrange(2000)), "[1]", "", b"", cut, "{", '{"end": 1}']
            )
            for _ in range(self._random.randrange(4))
        ]
        texts, _ = stream(self._address, f"/v1/stream/{path}", [*messages, '{"end": true}'], **query)
        return next((text["status"] for text in texts if "status" in text), 200)

    def wrong_method(self) -> int | None:
        method, path = (
            self._random.choice(["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"]),
            self._path(),
        )
        return self._raw(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )

    def _connect(self) -> socket.socket:
        parts = urlsplit(self._address)
        return socket.create_connection((parts.hostname, parts.port), timeout=20)

    def _path(self) -> str:
        return self._random.choice(["/v1/encode", "/v1/decode"])

    def _post(self, path: str, body: bytes, more: str = "") -> int | None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        return self._raw(head.encode() + body)

    def _raw(self, data: bytes, half_closed: bool = False) -> int | None:
        answer = b""
        with contextlib.suppress(ConnectionError):  # refused while still being sent
            answer = raw(self._address, data, half_closed, timeout=60)
        if not answer:
            return None
        assert b"Traceback" not in answer
        assert b'File "' not in answer
        return int(answer.split(b" ", 2)[1])
