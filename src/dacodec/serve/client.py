"""A client for the service. It needs only the standard library, and ``websockets`` for streams.

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
    """An error response: ``status``, ``code`` and ``remedy`` as the service sent them."""

    def __init__(self, status: int, code: str, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}; {remedy}" if remedy else detail)
        self.status, self.code, self.remedy = status, code, remedy


class Client:
    """Thread-safe: each call opens its own connection.

    Args:
        address: such as ``http://127.0.0.1:8000`` or ``https://example.org/codec``.
        key: the API key, if the service needs one.
        timeout: seconds to wait for a response.
        retries: how often to retry while the service is busy, each time after the seconds it asks for.
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
        """Encode a recording in any format to a ``.dacz`` file.

        Args:
            options: parameters of ``POST /v1/encode``: ``n_quantizers``, ``bitrate_kbps``, ``loudness_lufs``,
                ``model``, ``format`` and so on.

        Raises:
            ServiceError: if the service refuses it, or is still busy after all retries.
            OSError: if the service cannot be reached, or the connection breaks.
        """
        return self._request("POST", "/v1/encode", audio, options)

    def decode(self, codes: bytes, **options: Any) -> bytes:
        """Decode a ``.dacz`` file, or codes as JSON or ``.npy``, to an audio file. Errors as for :meth:`encode`.

        Args:
            options: parameters of ``POST /v1/decode``.
        """
        return self._request("POST", "/v1/decode", codes, options)

    def models(self) -> list[dict[str, Any]]:
        """The models that the service offers, the default one first."""
        models: list[dict[str, Any]] = json.loads(self._request("GET", "/v1/models", None, {}))["models"]
        return models

    def stream(self, direction: str, **options: Any) -> Stream:
        """Open a stream.

        Args:
            direction: ``"encode"`` or ``"decode"``.
            options: parameters of ``/v1/stream/encode`` or ``/decode``.

        Raises:
            ServiceError: if the service refuses it.
            OSError: if the service cannot be reached.
        """
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
            raise ConnectionError(f"the service closed the connection: {type(error).__name__}") from error
        finally:
            connection.close()

    def _path(self, path: str, options: dict[str, Any]) -> str:
        given = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()
        }
        return self._address.path + path + (f"?{urlencode(given)}" if given else "")


class Stream:
    """An open stream: a context manager, and an iterator over the bytes received.

    Attributes:
        facts: what the service has said about the stream: look-ahead and latency in seconds at the beginning, the
            number of samples and frames at the end.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # some versions of websockets open it only on entering
        self._socket = connection.__enter__()
        self.facts: dict[str, Any] = {}

    def send(self, data: bytes | str) -> None:
        """Send the next samples, packets, codes or rows. Blocks while the service is behind."""
        self._socket.send(data)

    def end(self) -> None:
        """Tell the service that the signal is complete."""
        self._socket.send(json.dumps({"end": True}))

    def __iter__(self) -> Iterator[bytes]:
        """
        Raises:
            ServiceError: if the service ends the stream with an error.
            ConnectionError: if the connection breaks before the end.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = self._socket.recv()
                if isinstance(message, bytes):
                    yield message
                    continue
                facts = json.loads(message)
                if "code" in facts:
                    raise _error(facts["status"], message.encode())
                self.facts.update(facts)
        except ConnectionClosed as closed:
            if not self.facts.get("end"):
                raise ConnectionError(f"the stream was cut off: {closed}") from None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, trace)


def _error(status: int, answer: bytes) -> ServiceError:
    try:
        problem = json.loads(answer)
        return ServiceError(status, problem["code"], problem["detail"], problem["remedy"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(status, "unknown", f"the service answered {status}", "")
