"""``POST /v1/encode`` and ``POST /v1/decode``: whole recordings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dacodec.audio.parts import Part
from dacodec.encoded import Encoded
from dacodec.errors import shown
from dacodec.serve.admission import Slot
from dacodec.serve.bodies import Disconnected, Sent, received, while_connected
from dacodec.serve.codes import DACZ, JSON, NPY, About, Coded, read_codes, to_json, to_npy
from dacodec.serve.recordings import Recording
from dacodec.serve.results import to_dacz
from dacodec.serve.service import Service

AUDIO = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg"}
_PATTERN = r"^[^\x00-\x1f\x7f]*$"

Model = Annotated[
    str | None,
    Field(description="A name from GET /v1/models. Default: the first.", max_length=200, pattern=_PATTERN),
]
Start = Annotated[float, Field(ge=0, le=1e6, description="Begin here, in seconds.")]
Duration = Annotated[float | None, Field(gt=0, le=1e6, description="Take this many seconds.")]


class EncodeQuery(BaseModel):
    """Parameters of ``/v1/encode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    n_quantizers: int | None = Field(None, ge=1, le=255, description="Codebooks to use. Default: all.")
    bitrate_kbps: float | None = Field(
        None,
        gt=0,
        le=10000,
        description="Instead of n_quantizers: as many codebooks as fit in this many kbit/s, all channels together.",
    )
    loudness_lufs: float | None = Field(
        None, ge=-100, le=0, description="Code at this loudness (DAC was trained at -16); undone on decode."
    )
    mid_side: bool = Field(False, description="Code the mid and side of stereo rather than left and right.")
    start_seconds: Start = 0.0
    duration_seconds: Duration = None
    damaged: Literal["error", "keep"] = Field(
        "error", description="Damaged recordings: error refuses them, keep takes what can be decoded."
    )
    track: int | None = Field(None, ge=1, le=99, description="Which of several audio tracks, from 1.")
    format: Literal["dacz", "json", "npy"] = Field("dacz", description="Format of the codes.")


class DecodeQuery(BaseModel):
    """Parameters of ``/v1/decode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    sampling_rate: int | None = Field(
        None, ge=1, le=768000, description="Of the audio, in Hz, if the body is bare codes."
    )
    n_samples: int | None = Field(
        None, ge=1, lt=1 << 40, description="Of the audio, per channel, if the body is bare codes."
    )
    conceal: bool = Field(
        False, description="Skip damage in a .dacz file: lost audio fades out, and is reported."
    )
    start_seconds: Start = 0.0
    duration_seconds: Duration = None
    format: Literal["wav", "flac", "opus", "json", "npy"] = Field(
        "wav", description="Audio format; or json, npy: all the codes, not decoded."
    )
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] | None = Field(
        None, description="Encoding of the samples: any of these for wav, PCM for flac."
    )


def _content(*types: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}


_CODES_EXAMPLE = {
    "codes": [[[12, 7, 940], [3, 3, 18]]],
    "model": "small-3",
    "sampling_rate": 44100,
    "n_samples": 1500,
}
_ENCODE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A recording in any format that dacodec reads: the bare file.",
        "content": _content("audio/*", "application/octet-stream"),
    },
}
_DECODE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A .dacz file, an .npy file of integers [C, K, F], or JSON, recognised by its first bytes.",
        "content": {
            **_content(DACZ, NPY),
            JSON: {"schema": {"type": "object", "required": ["codes"]}, "example": _CODES_EXAMPLE},
        },
    },
}


def routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post(
        "/encode",
        openapi_extra=_ENCODE,
        response_class=Response,
        responses={
            200: {
                "description": "The codes.",
                "content": {**_content(DACZ, NPY), JSON: {"example": _CODES_EXAMPLE}},
            }
        },
    )
    async def encode(request: Request, query: Annotated[EncodeQuery, Query()]) -> Response:
        """Encode a recording."""
        return await _served(service, request, lambda body, slot: _encode(service, query, body, slot))

    @router.post(
        "/decode",
        openapi_extra=_DECODE,
        response_class=Response,
        responses={200: {"description": "The audio.", "content": _content(*AUDIO.values())}},
    )
    async def decode(request: Request, query: Annotated[DecodeQuery, Query()]) -> Response:
        """Decode to audio with the recording's own rate, channels and length."""
        return await _served(service, request, lambda body, slot: _decode(service, query, body, slot))

    return router


async def _served(service: Service, request: Request, work: Callable[[bytes, Slot], Any]) -> Response:
    """Reserve a slot, receive the body, do the work unless the client goes. Sending the response frees the slot."""
    began, slot = time.monotonic(), service.admission.request()
    try:
        body = await received(request, service.limits, slot)
        response: Response = await while_connected(request, service.limits, work(body, slot))
    except BaseException as error:
        slot.release()
        if isinstance(error, Disconnected):
            service.metrics.gone.inc()
            return Response(status_code=400)  # nobody reads it
        raise
    service.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)
    return response


async def _encode(service: Service, query: EncodeQuery, body: bytes, slot: Slot) -> Response:
    codec, warned = service.models.named(query.model), list[str]()
    how = query.model_dump(
        include={"loudness_lufs", "start_seconds", "duration_seconds", "mid_side", "damaged", "track"}
    )
    recording = await service.reading(lambda: Recording(body, codec, service.limits, **how), warned)
    n_quantizers = codec.choose_n_quantizers(recording.channels, query.n_quantizers, query.bitrate_kbps)
    codes = await service.encode(codec, recording, n_quantizers, warned)
    encoded = Encoded(
        codes,
        recording.sampling_rate,
        recording.n_samples,
        codec.model,
        recording.gain,
        recording.mid_side,
    )
    headers = _headers(encoded, warned)
    if query.format == "dacz":
        data = await service.reading(lambda: to_dacz(encoded, recording.length))
        return Sent(data, DACZ, headers, slot)
    return await _codes(service, encoded, query.format, headers, slot)


async def _decode(service: Service, query: DecodeQuery, body: bytes, slot: Slot) -> Response:
    about = About(query.model, query.sampling_rate, query.n_samples)

    def read() -> Coded:
        return read_codes(body, service.models, service.limits, about, query.conceal)

    coded = await service.reading(read)
    headers = _headers(coded.encoded, coded.damages)
    if query.format in ("json", "npy"):
        return await _codes(service, coded.encoded, query.format, headers, slot)
    part = Part(query.start_seconds, query.duration_seconds)
    audio = await service.decode(coded, part, query.format, query.subtype, slot)
    return Sent(audio, AUDIO[query.format], headers, slot)


async def _codes(
    service: Service, encoded: Encoded, format: str, headers: dict[str, str], slot: Slot
) -> Response:
    write = to_json if format == "json" else to_npy
    data = await service.reading(lambda: write(encoded))
    return Sent(data, JSON if format == "json" else NPY, headers, slot)


def _headers(encoded: Encoded, warned: Sequence[str]) -> dict[str, str]:
    facts = {
        "Model": encoded.model.name,
        "Sampling-Rate": encoded.sampling_rate,
        "Channels": encoded.n_channels,
        "Samples": encoded.n_samples,
        "Codebooks": encoded.n_codebooks,
        "Frames": encoded.n_frames,
    }
    headers = {
        f"Dacodec-{key}": shown(value).encode("ascii", "replace").decode() for key, value in facts.items()
    }
    if warned:
        line = "; ".join(warned).replace("the given audio file: ", "")
        headers["Dacodec-Warning"] = shown(line).encode("ascii", "replace").decode()[:1000]
    return headers
