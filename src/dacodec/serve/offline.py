"""``POST /v1/encode`` and ``POST /v1/decode``: whole recordings and their codes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dacodec.encoded import Encoded
from dacodec.errors import shown
from dacodec.serve.admission import Place
from dacodec.serve.bodies import Gone, Sent, received, while_there
from dacodec.serve.codes import DACZ, JSON, NPY, About, read_codes, to_json, to_npy
from dacodec.serve.recordings import Dacz, Recording
from dacodec.serve.service import Service

AUDIO = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg"}
_PATTERN = r"^[^\x00-\x1f\x7f]*$"

Model = Annotated[str | None, Field(description="One of GET /v1/models.", max_length=200, pattern=_PATTERN)]


class EncodeQuery(BaseModel):
    """Parameters of ``/v1/encode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    n_quantizers: int | None = Field(None, ge=1, le=255, description="Codebooks to use; left out, all.")
    bitrate_kbps: float | None = Field(
        None, gt=0, le=10000, description="Instead: as many codebooks as fit, all channels together."
    )
    mid_side: bool = Field(False, description="Code mid and side of two channels.")
    damaged: Literal["error", "keep"] = Field(
        "error", description="Of a damaged recording, keep what can be had."
    )
    track: int | None = Field(None, ge=1, le=99, description="Of several audio tracks, from 1.")
    format: Literal["dacz", "json", "npy"] = Field("dacz", description="Of the codes.")


class DecodeQuery(BaseModel):
    """Parameters of ``/v1/decode``."""

    model_config = ConfigDict(extra="forbid")

    model: Model = None
    sampling_rate: int | None = Field(
        None, ge=1, le=768000, description="Of bare codes (.npy): Hz of the audio."
    )
    n_samples: int | None = Field(None, ge=1, lt=1 << 40, description="Of bare codes (.npy): samples of it.")
    format: Literal["wav", "flac", "opus", "json", "npy"] = Field(
        "wav", description="Of the audio; or json, npy: the codes themselves, not decoded."
    )
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] | None = Field(
        None, description="Of the samples in wav (all) and flac (PCM)."
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
        "description": "A recording of any format that dacodec reads, as the bare body.",
        "content": _content("audio/*", "application/octet-stream"),
    },
}
_DECODE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A .dacz file, a .npy file of integers [C, K, F], or JSON; told by its first bytes.",
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
        """A recording to codes."""
        return await _served(service, request, lambda body, place: _encode(service, query, body, place))

    @router.post(
        "/decode",
        openapi_extra=_DECODE,
        response_class=Response,
        responses={200: {"description": "The audio.", "content": _content(*AUDIO.values())}},
    )
    async def decode(request: Request, query: Annotated[DecodeQuery, Query()]) -> Response:
        """Codes to a recording, as long as it was, at its rate."""
        return await _served(service, request, lambda body, place: _decode(service, query, body, place))

    return router


async def _served(service: Service, request: Request, work: Callable[[bytes, Place], Any]) -> Response:
    """A place, the body, the work while the client is there, and the response, which gives the place back."""
    began, place = time.monotonic(), service.admission.request()
    try:
        body = await received(request, service.limits, place)
        response: Response = await while_there(request, service.limits, work(body, place))
    except BaseException as error:
        place.release()
        if isinstance(error, Gone):
            service.metrics.gone.inc()
            return Response(status_code=400)  # read by nobody
        raise
    service.metrics.seconds.labels(request.url.path).observe(time.monotonic() - began)
    return response


async def _encode(service: Service, query: EncodeQuery, body: bytes, place: Place) -> Response:
    codec, warned = service.models.named(query.model), list[str]()
    recording = await service.reading(
        lambda: Recording(body, codec, service.limits, query.mid_side, query.damaged, query.track), warned
    )
    n_quantizers = codec.choose_n_quantizers(recording.channels, query.n_quantizers, query.bitrate_kbps)
    codes = await service.encode(codec, recording, n_quantizers, warned)
    encoded = Encoded(
        codes, recording.sampling_rate, recording.n_samples, codec.model, mid_side=recording.mid_side
    )
    headers = _headers(encoded, warned)
    if query.format == "dacz":
        dacz = Dacz.of(codec, recording, n_quantizers)
        data = await service.reading(lambda: dacz(codes, recording.n_samples))
        return Sent(data, DACZ, headers, place)
    return await _codes(service, encoded, query.format, headers, place)


async def _decode(service: Service, query: DecodeQuery, body: bytes, place: Place) -> Response:
    about = About(query.model, query.sampling_rate, query.n_samples)
    coded = await service.reading(lambda: read_codes(body, service.models, service.limits, about))
    headers = _headers(coded.encoded, [])
    if query.format in ("json", "npy"):
        return await _codes(service, coded.encoded, query.format, headers, place)
    audio = await service.decode(coded, place, query.format, query.subtype)
    return Sent(audio, AUDIO[query.format], headers, place)


async def _codes(
    service: Service, encoded: Encoded, format: str, headers: dict[str, str], place: Place
) -> Response:
    write = to_json if format == "json" else to_npy
    data = await service.reading(lambda: write(encoded))
    return Sent(data, JSON if format == "json" else NPY, headers, place)


def _headers(encoded: Encoded, warned: list[str]) -> dict[str, str]:
    told = {
        "Model": encoded.model.name,
        "Sampling-Rate": encoded.sampling_rate,
        "Channels": encoded.n_channels,
        "Samples": encoded.n_samples,
        "Codebooks": encoded.n_codebooks,
        "Frames": encoded.n_frames,
    }
    headers = {
        f"Dacodec-{key}": shown(value).encode("ascii", "replace").decode() for key, value in told.items()
    }
    if warned:
        line = "; ".join(warned).replace("the given audio file: ", "")
        headers["Dacodec-Warning"] = shown(line).encode("ascii", "replace").decode()[:1000]
    return headers
