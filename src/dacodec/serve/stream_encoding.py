"""``WebSocket /v1/stream/encode``: samples to ``.dacz`` packets or codes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dacodec.audio.pcm import pcm_blocks
from dacodec.codec.coder import Codes
from dacodec.container import Writer
from dacodec.encoded import header_of
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
from dacodec.serve.recordings import check_size
from dacodec.serve.service import Service
from dacodec.serve.worker import Kind

_SAMPLE_BYTES = {"s16le": 2, "s32le": 4, "f32le": 4}


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


class Encoder(Stream):
    """
    Raises:
        Problem, DacodecError: if there is no stream as ``query`` describes it.
    """

    def __init__(self, service: Service, query: EncodeQuery) -> None:
        codec = service.models.named(query.model)
        check_size(service.limits, query.rate, query.channels, None)
        self._coder = codec.stream_encoder(
            query.rate, n_quantizers=query.n_quantizers, lookahead_seconds=seconds(query.lookahead_ms)
        )
        self._codec, self._query, self._worker = codec, query, service.worker
        self._whole = Whole(_SAMPLE_BYTES[query.raw] * query.channels, "a sample of all channels")
        self._state: Any = None
        self._n_frames = 0
        self._out: Callable[[Codes], bytes] = _frames
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

    async def push(self, message: bytes | str) -> AsyncIterator[Answer]:
        data = self._whole.push(binary(message))
        for samples in pcm_blocks(io.BytesIO(data), self._query.channels, self._query.raw):
            for piece in pieces(samples, self._codec.chunk_seconds * self._query.rate):
                pushed = await push_live(self._worker, self._coder, (piece, self._state))
                self._state = pushed.state
                yield self._give(pushed.codes)

    async def end(self) -> AsyncIterator[Answer]:
        self._whole.end()
        if self._state is not None:
            codes = await self._worker.live(Kind(("flush", self._coder), self._coder.flush_many), self._state)
            yield self._give(codes)
        n_samples = 0 if self._state is None else self._state.n_samples
        if self._writer is not None:
            self._writer.close(n_samples)
            yield self._written()
        yield {"end": True, "n_samples": n_samples, "n_frames": self._n_frames}

    def _give(self, codes: Codes) -> bytes:
        self._n_frames += codes.shape[2]
        return self._out(codes)

    def _packets(self, codes: Codes) -> bytes:
        assert self._writer is not None
        self._writer.write(codes)
        return self._written()

    def _written(self) -> bytes:
        """What the writer has written since the last call."""
        data = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return data


def _frames(codes: Codes) -> bytes:
    """Codes [C, K, F] as uint16 [F, C, K]."""
    return np.ascontiguousarray(codes.transpose(2, 0, 1)).astype("<u2").tobytes()
