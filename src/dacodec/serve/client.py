"""A client of the service: the standard library, and ``websockets`` for streams.

::

    client = Client("http://127.0.0.1:8000", key=os.environ.get("DACODEC_API_KEY"))
    dacz = client.encode(Path("in.flac").read_bytes(), n_quantizers=4)
    wav = client.decode(dacz)

    with client.stream("encode", rate=16000, channels=1) as stream:   # or "decode"
        stream.send(pcm)                                              # from any thread
        stream.end()
        for data in stream:
            ...
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from dacodec.errors import DacodecError

_BUSY = (429, 503)


class ServiceError(DacodecError):
    """What a service refused, and why: ``status``, ``code`` and ``remedy`` as it told them."""

    def __init__(self, status: int, code: str, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}; {remedy}" if remedy else detail)
        self.status, self.code, self.remedy = status, code, remedy


class Client:
    """Safe to use from several threads: each call has a connection of its own.

    Args:
        address: such as ``http://127.0.0.1:8000`` or ``https://example.org/codec``.
        key: where the service demands one.
        timeout: seconds that the service may take for an answer.
        retries: how often to come back to a service that is busy, when it says so.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        timeout: float = 300,
        retries: int = 5,
    ) -> None:
        self._address: SplitResult = urlsplit(address.rstrip("/"))
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._timeout, self._retries = timeout, retries

    def encode(self, audio: bytes, **options: Any) -> bytes:
        """A recording in any format to a ``.dacz`` file.

        Args:
            options: ``n_quantizers``, ``bitrate_kbps``, ``mid_side``, ``model``, ``format`` and so on: the parameters of
                ``POST /v1/encode``.

        Raises:
            ServiceError: if the service refuses it, or is busy for too long.
            OSError: if it cannot be reached, or the connection breaks; nothing is known of the request then.
        """
        return self._request("POST", "/v1/encode", audio, options)

    def decode(self, codes: bytes, **options: Any) -> bytes:
        """A ``.dacz`` file, or codes as JSON or ``.npy``, to an audio file; options and errors as :meth:`encode`."""
        return self._request("POST", "/v1/decode", codes, options)

    def models(self) -> list[dict[str, Any]]:
        """The models that are served, the default one first."""
        told: list[dict[str, Any]] = json.loads(self._request("GET", "/v1/models", None, {}))["models"]
        return told

    def stream(self, direction: str, **options: Any) -> Stream:
        """An open stream; ``direction`` is ``"encode"`` or ``"decode"``."""
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        scheme = "wss" if self._address.scheme == "https" else "ws"
        url = f"{scheme}://{self._address.netloc}{self._path(f'/v1/stream/{quote(direction)}', options)}"
        try:
            return Stream(connect(url, additional_headers=self._headers, max_size=None))
        except InvalidStatus as error:
            raise _error(error.response.status_code, bytes(error.response.body or b"")) from None

    def _request(self, method: str, path: str, body: bytes | None, options: dict[str, Any]) -> bytes:
        for attempt in range(self._retries + 1):
            status, headers, answer = self._once(method, self._path(path, options), body)
            if status == 200:
                return answer
            wait = headers.get("Retry-After", "")
            if status not in _BUSY or not wait.isdigit() or attempt == self._retries:
                break
            time.sleep(int(wait))
        raise _error(status, answer)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, Any, bytes]:
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._address.netloc, timeout=self._timeout)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the service broke off: {type(error).__name__}") from error
        finally:
            connection.close()

    def _path(self, path: str, options: dict[str, Any]) -> str:
        given = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()
        }
        return self._address.path + path + (f"?{urlencode(given)}" if given else "")


class Stream:
    """A context manager and an iterator over the bytes that come.

    Attributes:
        facts: what the service told of the stream so far: look-ahead and latency in seconds at the beginning, samples and
            frames at the end.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # versions of websockets differ in whether it is open yet
        self._socket = connection.__enter__()
        self.facts: dict[str, Any] = {}

    def send(self, data: bytes | str) -> None:
        """The next samples, packets, codes or rows. Waits where the service is slower."""
        self._socket.send(data)

    def end(self) -> None:
        """There is no more to come."""
        self._socket.send(json.dumps({"end": True}))

    def __iter__(self) -> Iterator[bytes]:
        """
        Raises:
            ServiceError: if the service ends the stream with a problem.
            ConnectionError: if it ends otherwise before its end.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = self._socket.recv()
                if isinstance(message, bytes):
                    yield message
                    continue
                told = json.loads(message)
                if "code" in told:
                    raise _error(told["status"], message.encode())
                self.facts.update(told)
        except ConnectionClosed as closed:
            if not self.facts.get("end"):
                raise ConnectionError(f"the stream broke off: {closed}") from None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, trace)


def _error(status: int, answer: bytes) -> ServiceError:
    try:
        told = json.loads(answer)
        return ServiceError(status, told["code"], told["detail"], told["remedy"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(status, "unknown", f"the service answered {status}", "")
