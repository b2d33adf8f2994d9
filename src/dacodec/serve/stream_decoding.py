"""``WebSocket /v1/stream/decode``: ``.dacz`` packets, codes or rows of a language model to samples."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dacodec.audio import SampleFormat, Samples
from dacodec.audio.conversion import as_given
from dacodec.audio.pcm import pcm_bytes
from dacodec.codec.coder import Codes
from dacodec.codec.live import StreamDecoder
from dacodec.encoded import model_of
from dacodec.errors import FormatError, RowError
from dacodec.serve.messages import (
    Answer,
    Channels,
    Lookahead,
    Rate,
    Raw,
    Stream,
    Whole,
    binary,
    pieces,
    push_live,
    seconds,
)
from dacodec.serve.offline import Model
from dacodec.serve.packets import PacketStream
from dacodec.serve.recordings import check_size
from dacodec.serve.service import Service
from dacodec.serve.worker import Kind, Worker
from dacodec.tokens import BadId, Undelay, UndelayState, find_layout
from dacodec.tokens.rows import row_from_json

_MOST_BAD = 100  # ids that are listed at the end


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


@dataclass
class _Decoding:
    """Decodes codes to PCM and counts the samples."""

    decoder: StreamDecoder
    worker: Worker
    raw: SampleFormat
    gain: float = 1.0
    mid_side: bool = False
    n_samples: int = 0
    state: Any = None

    async def push(self, codes: Codes, is_lost: bool = False) -> AsyncIterator[Answer]:
        codec = self.decoder.codec
        for piece in pieces(codes, codec.chunk_seconds * codec.model.frames_per_second):
            missing = np.full(piece.shape[2], is_lost)
            pushed = await push_live(self.worker, self.decoder, (piece, self.state, missing))
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


def make_decoder(service: Service, query: DecodeQuery) -> Stream:
    """The stream that ``query`` describes.

    Raises:
        Problem, DacodecError: if there is no such stream.
    """
    if query.layout is not None:
        return _RowsDecoder(service, query)
    return _DaczDecoder(service, query) if query.input == "dacz" else _CodesDecoder(service, query)


class _DaczDecoder(Stream):
    """A ``.dacz`` stream, cut anywhere, to PCM at the recording's rate."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        self._service, self._query = service, query
        self._packets = PacketStream(query.conceal)
        self._decoding: _Decoding | None = None

    def greeting(self) -> None:
        return None

    async def push(self, message: bytes | str) -> AsyncIterator[Answer]:
        data = binary(message)
        if not data:
            return
        async for packet in self._packets.push(data):
            if self._decoding is None:
                yield self._begin()
            assert self._decoding is not None
            async for audio in self._decoding.push(packet.codes, packet.is_lost):
                yield audio
        if self._decoding is None and self._packets.header is not None:
            yield self._begin()

    async def end(self) -> AsyncIterator[Answer]:
        async for packet in self._packets.push(b""):
            if self._decoding is None:
                yield self._begin()
            assert self._decoding is not None
            async for audio in self._decoding.push(packet.codes, packet.is_lost):
                yield audio
        if self._decoding is None:
            raise FormatError("the stream ended before its first packet")
        assert self._packets.reader is not None
        yield await self._decoding.flush(self._packets.reader.n_samples)
        yield {"end": True, "n_samples": self._decoding.n_samples}

    def close(self) -> None:
        self._packets.close()

    def _begin(self) -> dict[str, Any]:
        header = self._packets.header
        assert header is not None
        check_size(self._service.limits, header.sampling_rate, header.channels, None)
        codec = self._service.models.that_made(model_of(header), header.n_codebooks)
        decoder = codec.stream_decoder(
            header.sampling_rate, lookahead_seconds=seconds(self._query.lookahead_ms)
        )
        self._decoding = _Decoding(
            decoder, self._service.worker, self._query.raw, header.gain, header.is_mid_side
        )
        return self._decoding.facts(header.channels, header.n_codebooks)


class _CodesDecoder(Stream):
    """Frames of codes, uint16 [F, C, K], to PCM."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        codec = service.models.named(query.model)
        rate = query.rate or codec.sampling_rate
        check_size(service.limits, rate, query.channels, None)
        n_codebooks = codec.choose_n_quantizers(query.channels, query.n_codebooks, None)
        self._shape = (query.channels, n_codebooks)
        decoder = codec.stream_decoder(rate, lookahead_seconds=seconds(query.lookahead_ms))
        self._decoding = _Decoding(decoder, service.worker, query.raw)
        self._whole = Whole(2 * query.channels * n_codebooks, "a frame of all channels and codebooks")

    def greeting(self) -> dict[str, Any]:
        return self._decoding.facts(*self._shape)

    async def push(self, message: bytes | str) -> AsyncIterator[Answer]:
        data = self._whole.push(binary(message))
        if data:
            frames = np.frombuffer(bytearray(data), "<u2").reshape(-1, *self._shape)  # [F, C, K]
            async for audio in self._decoding.push(frames.transpose(1, 2, 0)):
                yield audio

    async def end(self) -> AsyncIterator[Answer]:
        self._whole.end()
        yield await self._decoding.flush()
        yield {"end": True, "n_samples": self._decoding.n_samples}


class _RowsDecoder(Stream):
    """Rows of a language model's ids to PCM, up to the first invalid row."""

    def __init__(self, service: Service, query: DecodeQuery) -> None:
        codec = service.models.named(query.model)
        self._layout = find_layout(query.layout or "")
        self._layout.check(codec.n_codebooks, codec.model.codebook_size)
        rate = query.rate or codec.sampling_rate
        check_size(service.limits, rate, 1, None)
        decoder = codec.stream_decoder(rate, lookahead_seconds=seconds(query.lookahead_ms))
        self._decoding = _Decoding(decoder, service.worker, query.raw)
        self._undelay, self._rows = Undelay(self._layout), UndelayState()
        self._whole = Whole(2 * self._layout.n_codebooks, "a row")
        self._is_json = query.rows == "json"
        self._bad: list[BadId] = []
        self._n_bad = 0

    def greeting(self) -> dict[str, Any]:
        return self._decoding.facts(1, self._layout.n_codebooks) | {"delay_rows": self._layout.max_delay}

    async def push(self, message: bytes | str) -> AsyncIterator[Answer]:
        rows, unparsed = self._parsed(message)
        (codes, state, bad), error = self._undelay.push_valid(rows, self._rows)
        error = error or unparsed  # the first wrong row's
        self._rows = state
        self._n_bad += len(bad)
        self._bad += bad[: _MOST_BAD - len(self._bad)]
        async for audio in self._decoding.push(codes[None]):
            yield audio
        if state.ended is not None or error is not None:
            yield await self._decoding.flush()
        if error is not None:
            raise error

    async def end(self) -> AsyncIterator[Answer]:
        self._whole.end()
        yield await self._decoding.flush()
        bad = [one._asdict() for one in self._bad]
        yield {"end": True, "n_samples": self._decoding.n_samples, "n_bad": self._n_bad, "bad": bad}

    def _parsed(self, message: bytes | str) -> tuple[Any, RowError | None]:
        """The rows of a message up to the first that cannot be parsed, and the error for that one."""
        if not self._is_json:
            data = self._whole.push(binary(message))
            return np.frombuffer(data, "<u2").reshape(-1, self._layout.n_codebooks), None
        rows: list[Any] = []
        for line in (message if isinstance(message, str) else message.decode(errors="replace")).splitlines():
            if not line.strip():
                continue
            try:
                rows.append(row_from_json(line, self._rows.n_rows + len(rows)))
            except RowError as error:
                return rows, error
        return rows, None
