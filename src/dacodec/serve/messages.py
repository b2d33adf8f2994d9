"""What the streams have in common: their parameters, whole items out of messages cut anywhere, pushes to the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field

from dacodec.codec.live import StreamDecoder, StreamEncoder
from dacodec.serve.problems import Problem
from dacodec.serve.worker import Kind, Worker

Rate = Annotated[int, Field(ge=1, le=768000, description="Sampling rate in Hz.")]
Channels = Annotated[int, Field(ge=1, le=255)]
Raw = Annotated[
    Literal["s16le", "s32le", "f32le"], Field(description="Format of the samples, which are interleaved.")
]
Lookahead = Annotated[
    float | None,
    Field(ge=0, le=10000, description="Milliseconds. Default: as many as an exact result needs."),
]

Answer = bytes | dict[str, Any]  # binary data, or facts as JSON


class Stream:
    """Turns the messages of a client into answers."""

    def greeting(self) -> dict[str, Any] | None:
        """Facts to send first; None if they depend on the first messages."""
        raise NotImplementedError

    def push(self, message: bytes | str) -> AsyncIterator[Answer]:
        """Answers to a message."""
        raise NotImplementedError

    def end(self) -> AsyncIterator[Answer]:
        """The rest of the data, then the facts of the whole stream."""
        raise NotImplementedError

    def close(self) -> None:
        """Called once, however the stream ended."""


class Whole:
    """Cuts bytes that arrive in any portions into whole items of ``size`` bytes; ``what`` names an item."""

    def __init__(self, size: int, what: str) -> None:
        self._size, self._what, self._rest = size, what, b""

    def push(self, data: bytes) -> bytes:
        data = self._rest + data
        n = len(data) // self._size * self._size
        self._rest = data[n:]
        return data[:n]

    def end(self) -> None:
        if self._rest:
            raise Problem(
                422,
                "cut_off",
                f"the stream ends with {len(self._rest)} bytes; {self._what} has {self._size}",
                "send whole items; messages may cut them anywhere",
            )


def binary(message: bytes | str) -> bytes:
    """
    Raises:
        Problem: if it is a text message.
    """
    if isinstance(message, str):
        raise Problem(
            422,
            "bad_message",
            "this text message is not the end of the stream",
            'send samples or codes as binary messages, and {"end": true} at the end',
        )
    return message


def seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


async def push_live(worker: Worker, coder: StreamEncoder | StreamDecoder, work: tuple[Any, ...]) -> Any:
    """A push of a stream, batched with those of other streams that use an equal coder."""
    kind = Kind(("push", coder), lambda works: coder.push_many(*map(list, zip(*works, strict=True))))
    return await worker.live(kind, work)


def pieces(steps: Any, most: float) -> list[Any]:
    """[..., n] in parts of at most ``most`` steps, so that none keeps the worker busy for longer than a chunk."""
    n = max(1, int(most))
    return [steps[..., start : start + n] for start in range(0, steps.shape[-1], n)]
