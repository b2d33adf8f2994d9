"""WebSockets: PCM in and codes out, codes in and PCM out, with the exact results of ``Codec.stream_encoder`` and
``stream_decoder``. docs/service.md has the messages.

Each stream is a coroutine that waits for a message, has it coded beside the others' and sends what came of it before it
takes the next, so a client that sends too fast is slowed down by its own connection.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from dacodec.audio import SampleFormat, Samples
from dacodec.audio.pcm import pcm_blocks, pcm_bytes
from dacodec.codec.coder import Codes, as_given
from dacodec.codec.live import StreamDecoder, StreamEncoder
from dacodec.container import Writer
from dacodec.encoded import header_of, model_of
from dacodec.errors import DacodecError, FormatError, RowError
from dacodec.serve.guard import PROTOCOL, refuse
from dacodec.serve.limits import Limits
from dacodec.serve.offline import Model
from dacodec.serve.packets import PacketStream
from dacodec.serve.problems import Problem, problem_of
from dacodec.serve.recordings import check_size
from dacodec.serve.service import Service
from dacodec.serve.worker import Kind, Worker
from dacodec.tokens import BadId, Undelay, UndelayState, find_layout

log = logging.getLogger("dacodec.serve")

_SAMPLE_BYTES = {"s16le": 2, "s32le": 4, "f32le": 4}
_MOST_BAD = 100  # ids that are named at the end

Rate = Annotated[int, Field(ge=1, le=768000, description="Hz.")]
Channels = Annotated[int, Field(ge=1, le=255)]
Raw = Annotated[Literal["s16le", "s32le", "f32le"], Field(description="Of the samples, interleaved.")]
Lookahead = Annotated[
    float | None, Field(ge=0, le=10000, description="Milliseconds; left out, as many as make it exact.")
]


class EncodeQuery(BaseModel):
    """Parameters of ``/v1/stream/encode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    rate: Rate = 44100
    channels: Channels = 1
    raw: Raw = "s16le"
    n_quantizers: int | None = Field(None, ge=1, le=255)
    lookahead_ms: Lookahead = None
    packet_frames: int = Field(4, ge=1, le=1000)
    output: Literal["dacz", "codes"] = "dacz"


class DecodeQuery(BaseModel):
    """Parameters of ``/v1/stream/decode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    input: Literal["dacz", "codes"] = "dacz"
    conceal: bool = False
    layout: str | None = Field(None, max_length=50)
    rows: Literal["uint16", "json"] = "uint16"
    rate: Rate | None = None
    channels: Channels = 1
    n_codebooks: int | None = Field(None, ge=1, le=255)
    raw: Raw = "s16le"
    lookahead_ms: Lookahead = None


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/stream")

    @router.websocket("/encode")
    async def encode(socket: WebSocket, query: Annotated[EncodeQuery, Query()]) -> None:
        await _open(service, socket, lambda: _Encoder(service, query))

    @router.websocket("/decode")
    async def decode(socket: WebSocket, query: Annotated[DecodeQuery, Query()]) -> None:
        await _open(service, socket, lambda: _decoder(service, query))

    return router


class Stream:
    """What is made of a stream's messages."""

    def greeting(self) -> dict[str, Any] | None:
        """What is told first; None where the first message must be known."""
        raise NotImplementedError

    def push(self, message: bytes | str) -> AsyncIterator[bytes | dict[str, Any]]:
        """What is sent because of a message."""
        raise NotImplementedError

    def end(self) -> AsyncIterator[bytes | dict[str, Any]]:
        """What is left; last the facts of the whole."""
        raise NotImplementedError

    def close(self) -> None:
        """However it ended."""


async def _open(service: Service, socket: WebSocket, make: Callable[[], Stream]) -> None:
    """A place, the stream, and an end that says what was wrong."""
    try:
        session = service.admission.session()
    except Problem as problem:
        await _refuse(socket, problem)
        return
    with session:
        try:
            stream = make()
        except (Problem, DacodecError) as error:
            await _refuse(socket, problem_of(error))
            return
        protocols = socket.scope.get("subprotocols", [])
        await socket.accept(PROTOCOL if PROTOCOL in protocols else None)
        try:
            await asyncio.wait_for(_serve(service.limits, socket, stream), service.limits.session_seconds)
        except WebSocketDisconnect:
            service.metrics.gone.inc()
        except asyncio.TimeoutError:
            seconds = service.limits.session_seconds
            await _fail(
                socket,
                Problem(408, "too_long", f"streams end after {seconds:g} s", "begin another one"),
                1008,
            )
        except (Problem, DacodecError) as error:
            await _fail(socket, problem_of(error), 1007)
        except Exception as error:
            log.exception("a stream failed")
            await _fail(socket, problem_of(error), 1011)
        finally:
            stream.close()


async def _serve(limits: Limits, socket: WebSocket, stream: Stream) -> None:
    await _send(socket, stream.greeting())
    while True:
        message = await _next(limits, socket)
        if isinstance(message, str) and _is_end(message):
            break
        async for answer in stream.push(message):
            await _send(socket, answer)
    async for answer in stream.end():
        await _send(socket, answer)
    await socket.close(1000)


async def _next(limits: Limits, socket: WebSocket) -> bytes | str:
    try:
        message = await asyncio.wait_for(socket.receive(), limits.idle_seconds)
    except asyncio.TimeoutError:
        raise Problem(
            408,
            "too_slow",
            f"nothing came for {limits.idle_seconds:g} s",
            'end a stream by {"end": true}, and begin another one later',
        ) from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    data: bytes | str | None = message.get("bytes")
    return data if data is not None else message["text"]


def _is_end(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"end": True})
    except (ValueError, RecursionError):
        return False


async def _send(socket: WebSocket, answer: bytes | dict[str, Any] | None) -> None:
    if isinstance(answer, dict):
        await socket.send_text(json.dumps(answer))
    elif answer:
        await socket.send_bytes(answer)


async def _fail(socket: WebSocket, problem: Problem, code: int) -> None:
    try:
        await _send(socket, problem.to_json())
        await socket.close(code, problem.code)
    except (RuntimeError, WebSocketDisconnect):  # it is gone
        return


async def _refuse(socket: WebSocket, problem: Problem) -> None:
    scope: Scope = socket.scope
    await refuse(problem, scope, socket.receive, socket.send)


def _bytes(message: bytes | str) -> bytes:
    if isinstance(message, str):
        raise Problem(
            422,
            "bad_message",
            "a text message that is not the end",
            'send samples or codes as binary, the end as {"end": true}',
        )
    return message


def _seconds(lookahead_ms: float | None) -> float | None:
    return None if lookahead_ms is None else lookahead_ms / 1000


class _Whole:
    """Bytes in any portions to bytes in whole items."""

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
                f"{len(self._rest)} bytes are left at the end, {self._what} has {self._size}",
                "send whole ones, in messages of any size",
            )


class _Encoder(Stream):
    """PCM to ``.dacz`` packets or codes."""

    def __init__(self, service: Service, query: EncodeQuery) -> None:
        codec = service.models.named(query.model)
        check_size(service.limits, query.rate, query.channels, None)
        self._coder = codec.stream_encoder(
            query.rate, n_quantizers=query.n_quantizers, lookahead_seconds=_seconds(query.lookahead_ms)
        )
        self._codec, self._query, self._worker = codec, query, service.worker
        self._whole = _Whole(_SAMPLE_BYTES[query.raw] * query.channels, "a sample of all channels")
        self._state: Any = None
        self._n_frames = 0
        self._out: Callable[[Codes], bytes] = _frame_bytes
        self._writer: Writer | None = None
        if query.output == "dacz":
            header = header_of(codec.model, self._coder.n_quantizers, query.rate, query.channels, None)
            self._file = io.BytesIO()
            self._writer = Writer(self._file, replace(header, packet_frames=query.packet_frames))
            self._out = self._packets

    def greeting(self) -> dict[str, Any]:
        model, query = self._codec.model, self._query
        packet = query.packet_frames if query.output == "dacz" else 1
        return {
            "model": model.name,
            "rate": query.rate,
            "channels": query.channels,
            "n_codebooks": self._coder.n_quantizers,
            "frames_per_second": model.frames_per_second,
            "lookahead_seconds": self._coder.lookahead_seconds,
            "latency_seconds": self._coder.lookahead_seconds + packet / model.frames_per_second,
        }

    async def push(self, message: bytes | str) -> AsyncIterator[bytes | dict[str, Any]]:
        data = self._whole.push(_bytes(message))
        for samples in pcm_blocks(io.BytesIO(data), self._query.channels, self._query.raw):
            for piece in _pieces(samples, self._codec.chunk_seconds * self._query.rate):
                pushed = await _live(self._worker, self._coder, (piece, self._state))
                self._state = pushed.state
                yield self._give(pushed.codes)

    async def end(self) -> AsyncIterator[bytes | dict[str, Any]]:
        self._whole.end()
        if self._state is not None:
            codes = await self._worker.live(Kind(("flush", self._coder), self._coder.flush_many), self._state)
            yield self._give(codes)
        n_samples = 0 if self._state is None else self._state.n_samples
        if self._writer is not None:
            self._writer.close(n_samples)
            yield self._taken()
        yield {"end": True, "n_samples": n_samples, "n_frames": self._n_frames}

    def _give(self, codes: Codes) -> bytes:
        self._n_frames += codes.shape[2]
        return self._out(codes)

    def _packets(self, codes: Codes) -> bytes:
        assert self._writer is not None
        self._writer.write(codes)
        return self._taken()

    def _taken(self) -> bytes:
        data = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return data


@dataclass
class _Sound:
    """Codes to PCM, and how much of it there was."""

    decoder: StreamDecoder
    worker: Worker
    raw: SampleFormat
    gain: float = 1.0
    mid_side: bool = False
    n_samples: int = 0
    state: Any = None

    async def push(self, codes: Codes, is_lost: bool = False) -> AsyncIterator[bytes | dict[str, Any]]:
        codec = self.decoder.codec
        for piece in _pieces(codes, codec.chunk_seconds * codec.model.frames_per_second):
            missing = np.full(piece.shape[2], is_lost)
            pushed = await _live(self.worker, self.decoder, (piece, self.state, missing))
            self.state = pushed.state
            yield self._give(pushed.audio)

    async def flush(self, n_samples: int | None = None) -> bytes:
        if self.state is None:
            return b""
        state, self.state = self.state, None
        kind = Kind(("flush", self.decoder), lambda works: self.decoder.flush_many(*zip(*works, strict=True)))
        return self._give(await self.worker.live(kind, (state, n_samples)))

    def _give(self, audio: Samples) -> bytes:
        self.n_samples += audio.shape[1]
        (given,) = as_given([audio], self.gain, self.mid_side)
        return pcm_bytes(given, self.raw)

    def facts(self, channels: int, n_codebooks: int) -> dict[str, Any]:
        decoder = self.decoder
        return {
            "model": decoder.codec.model.name,
            "rate": decoder.sampling_rate,
            "channels": channels,
            "n_codebooks": n_codebooks,
            "frames_per_second": decoder.codec.model.frames_per_second,
            "lookahead_seconds": decoder.lookahead_seconds,
        }


def _decoder(service: Service, query: DecodeQuery) -> Stream:
    if query.layout is not None:
        return _RowsDecoder(service, query)
    return _DaczDecoder(service, query) if query.input == "dacz" else _CodesDecoder(service, query)


class _DaczDecoder(Stream):
    """A ``.dacz`` stream, cut anywhere, to PCM at its own rate."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        self._service, self._query = service, query
        self._packets = PacketStream(query.conceal)
        self._sound: _Sound | None = None

    def greeting(self) -> None:
        return None

    async def push(self, message: bytes | str) -> AsyncIterator[bytes | dict[str, Any]]:
        data = _bytes(message)
        if not data:
            return
        async for packet in self._packets.push(data):
            if self._sound is None:
                yield self._begin()
            assert self._sound is not None
            async for audio in self._sound.push(packet.codes, packet.is_lost):
                yield audio
        if self._sound is None and self._packets.header is not None:
            yield self._begin()

    async def end(self) -> AsyncIterator[bytes | dict[str, Any]]:
        async for packet in self._packets.push(b""):
            if self._sound is None:
                yield self._begin()
            assert self._sound is not None
            async for audio in self._sound.push(packet.codes, packet.is_lost):
                yield audio
        if self._sound is None:
            raise FormatError("the stream ended before its first packet")
        assert self._packets.reader is not None
        yield await self._sound.flush(self._packets.reader.n_samples)
        yield {"end": True, "n_samples": self._sound.n_samples}

    def close(self) -> None:
        self._packets.__exit__(None, None, None)

    def _begin(self) -> dict[str, Any]:
        header = self._packets.header
        assert header is not None
        check_size(self._service.limits, header.sampling_rate, header.channels, None)
        codec = self._service.models.that_made(model_of(header), header.n_codebooks)
        decoder = codec.stream_decoder(
            header.sampling_rate, lookahead_seconds=_seconds(self._query.lookahead_ms)
        )
        self._sound = _Sound(decoder, self._service.worker, self._query.raw, header.gain, header.is_mid_side)
        return self._sound.facts(header.channels, header.n_codebooks)


class _CodesDecoder(Stream):
    """Frames of codes, uint16 [F, C, K], to PCM."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        codec = service.models.named(query.model)
        rate = query.rate or codec.sampling_rate
        check_size(service.limits, rate, query.channels, None)
        n_codebooks = codec.choose_n_quantizers(query.channels, query.n_codebooks, None)
        self._shape = (query.channels, n_codebooks)
        decoder = codec.stream_decoder(rate, lookahead_seconds=_seconds(query.lookahead_ms))
        self._sound = _Sound(decoder, service.worker, query.raw)
        self._whole = _Whole(2 * query.channels * n_codebooks, "a frame of all channels and codebooks")

    def greeting(self) -> dict[str, Any]:
        return self._sound.facts(*self._shape)

    async def push(self, message: bytes | str) -> AsyncIterator[bytes | dict[str, Any]]:
        data = self._whole.push(_bytes(message))
        if data:
            frames = np.frombuffer(bytearray(data), "<u2").reshape(-1, *self._shape)  # [F, C, K]
            async for audio in self._sound.push(frames.transpose(1, 2, 0)):
                yield audio

    async def end(self) -> AsyncIterator[bytes | dict[str, Any]]:
        self._whole.end()
        yield await self._sound.flush()
        yield {"end": True, "n_samples": self._sound.n_samples}


class _RowsDecoder(Stream):
    """Rows of a language model's ids to PCM, up to the first row that is wrong."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        codec = service.models.named(query.model)
        self._layout = find_layout(query.layout or "")
        self._layout.check(codec.n_codebooks, codec.model.codebook_size)
        rate = query.rate or codec.sampling_rate
        check_size(service.limits, rate, 1, None)
        decoder = codec.stream_decoder(rate, lookahead_seconds=_seconds(query.lookahead_ms))
        self._sound = _Sound(decoder, service.worker, query.raw)
        self._undelay, self._rows = Undelay(self._layout), UndelayState()
        self._whole = _Whole(2 * self._layout.n_codebooks, "a row")
        self._is_json = query.rows == "json"
        self._bad: list[BadId] = []
        self._n_bad = 0

    def greeting(self) -> dict[str, Any]:
        return self._sound.facts(1, self._layout.n_codebooks) | {"delay_rows": self._layout.max_delay}

    async def push(self, message: bytes | str) -> AsyncIterator[bytes | dict[str, Any]]:
        rows, error = self._parsed(message)
        try:
            codes, state, bad = self._undelay.push(rows, self._rows)
        except RowError as wrong:
            error = wrong
            n_right = 0 if wrong.row is None else wrong.row - self._rows.n_rows
            codes, state, bad = self._undelay.push(rows[:n_right], self._rows)
        self._rows = state
        self._n_bad += len(bad)
        self._bad += bad[: _MOST_BAD - len(self._bad)]
        async for audio in self._sound.push(codes[None]):
            yield audio
        if state.ended is not None or error is not None:
            yield await self._sound.flush()
        if error is not None:
            raise error

    async def end(self) -> AsyncIterator[bytes | dict[str, Any]]:
        self._whole.end()
        yield await self._sound.flush()
        bad = [one._asdict() for one in self._bad]
        yield {"end": True, "n_samples": self._sound.n_samples, "n_bad": self._n_bad, "bad": bad}

    def _parsed(self, message: bytes | str) -> tuple[Any, RowError | None]:
        """The rows of a message up to the first that is none, and what is wrong with that."""
        if not self._is_json:
            data = self._whole.push(_bytes(message))
            return np.frombuffer(data, "<u2").reshape(-1, self._layout.n_codebooks), None
        rows: list[Any] = []
        for line in (message if isinstance(message, str) else message.decode(errors="replace")).splitlines():
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, list):
                what = "not a list of ids in JSON, such as [1, 2, 3] on a line of its own"
                return rows, RowError(what, self._rows.n_rows + len(rows))
            rows.append(row)
        return rows, None


_Coder = StreamEncoder | StreamDecoder


async def _live(worker: Worker, coder: _Coder, work: tuple[Any, ...]) -> Any:
    """A push of a stream, with those of the others that wait and have the same coder."""
    kind = Kind(("push", coder), lambda works: coder.push_many(*map(list, zip(*works, strict=True))))
    return await worker.live(kind, work)


def _pieces(steps: Any, most: float) -> list[Any]:
    """Parts of [..., n] of at most ``most``: none holds the worker longer than a chunk."""
    n = max(1, int(most))
    return [steps[..., start : start + n] for start in range(0, steps.shape[-1], n)]


def _frame_bytes(codes: Codes) -> bytes:
    """uint16 [F, C, K] of codes [C, K, F]."""
    return np.ascontiguousarray(codes.transpose(2, 0, 1)).astype("<u2").tobytes()
