"""Codes in request bodies and responses: ``.dacz``, JSON, NumPy's ``.npy``. Runs in reader threads, not in the event loop."""

from __future__ import annotations

import ast
import io
import json
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacodec.codec import Codec
from dacodec.codec.concealment import repeat_missing
from dacodec.codec.files import samples_read
from dacodec.container import Reader
from dacodec.encoded import Encoded, Model, model_of
from dacodec.errors import CodesError, FormatError
from dacodec.serve.limits import Limits
from dacodec.serve.models import Models
from dacodec.serve.problems import Problem
from dacodec.serve.recordings import check_size

DACZ = "application/vnd.dacodec.dacz"
NPY = "application/x-npy"
JSON = "application/json"

_NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER_BYTES = 1 << 12
_KEYS = {"codes", "model", "sampling_rate", "n_samples", "gain", "mid_side"}
# Also in what to_json gives, and ignored.
_FACTS = {
    "fingerprint",
    "model_sampling_rate",
    "hop_length",
    "codebook_size",
    "channels",
    "n_codebooks",
    "n_frames",
}


class Coded(NamedTuple):
    """Codes, and the codec that decodes them."""

    codec: Codec
    encoded: Encoded
    lost: NDArray[np.bool_]  # [F], frames that are made up because the file is damaged
    damages: tuple[str, ...] = ()


class About(NamedTuple):
    """What a request says about bare codes, which do not say it themselves."""

    model: str | None = None
    sampling_rate: int | None = None
    n_samples: int | None = None


def read_codes(body: bytes, models: Models, limits: Limits, about: About, conceal: bool = False) -> Coded:
    """Codes in any of the three forms, recognised by their first bytes.

    Args:
        conceal: skip damage in a ``.dacz`` file; its frames count as lost.

    Raises:
        FormatError, CodesError, PriorError, ModelMismatchError: if they cannot be decoded.
        Problem: if they are more than a client may send.
    """
    if body.startswith(_NPY_MAGIC):
        return _from_array(_npy(body), models, limits, about)
    if body[:1] in (b"{", b"["):
        return _from_json(body, models, limits, about)
    return _from_dacz(body, models, limits, conceal)


def _from_dacz(body: bytes, models: Models, limits: Limits, conceal: bool) -> Coded:
    reader = Reader(io.BytesIO(body), conceal=conceal, packets_ahead=64)
    header = reader.header
    check_size(limits, header.sampling_rate, header.channels, header.n_samples)
    codec = models.that_made(model_of(header), header.n_codebooks)
    parts = [np.empty((header.channels, header.n_codebooks, 0), np.uint16)]
    lost = [np.empty(0, np.bool_)]
    for packet in reader:
        check_frames(limits, header.channels, reader.n_frames, codec.model)
        parts.append(packet.codes)
        lost.append(np.full(packet.n_frames, packet.is_lost))
    n_samples, missing = samples_read(reader), np.concatenate(lost)
    check_size(limits, header.sampling_rate, header.channels, n_samples)
    codes = repeat_missing(np.concatenate(parts, axis=2), missing, None)
    encoded = Encoded(codes, header.sampling_rate, n_samples, codec.model, header.gain, header.is_mid_side)
    return Coded(codec, encoded, missing, tuple(damage.described(header) for damage in reader.damages))


def check_frames(limits: Limits, channels: int, n_frames: int, model: Model) -> None:
    check_size(limits, limits.most_rate, channels, None)
    if n_frames > math.ceil(limits.audio_seconds * model.frames_per_second) + 2:
        raise Problem(
            413,
            "too_long",
            f"there are more frames than {limits.audio_seconds:g} s of audio have",
            "send them in parts, or use a stream",
        )


def _from_array(
    codes: NDArray[Any],
    models: Models,
    limits: Limits,
    about: About,
    gain: float = 1.0,
    mid_side: bool = False,
) -> Coded:
    codec = models.named(about.model)
    if codes.dtype.kind not in "iu" or codes.ndim not in (2, 3):
        raise CodesError(
            f"codes must be integers [codebooks, frames] or [channels, codebooks, frames], got {codes.dtype} of "
            f"shape {list(codes.shape)}"
        )
    channels = len(codes) if codes.ndim == 3 else 1
    check_frames(limits, channels, codes.shape[-1], codec.model)
    if not codes.size:
        raise CodesError(f"there are no codes (shape {list(codes.shape)})")
    if codes.max() >= codec.model.codebook_size:  # before a wider dtype wraps round
        raise CodesError(f"code {codes.max()} is outside 0..{codec.model.codebook_size - 1}")
    if mid_side and channels != 2:
        raise CodesError(f"mid_side needs two channels; these codes have {channels}")
    rate = codec.sampling_rate if about.sampling_rate is None else about.sampling_rate
    check_size(limits, rate, channels, about.n_samples)
    encoded = codec.from_codes(codes.astype(np.int64), sampling_rate=rate)
    n_samples = encoded.n_samples if about.n_samples is None else about.n_samples
    if not 0 < n_samples <= encoded.n_samples:
        raise CodesError(f"n_samples is {n_samples}; these frames hold 1 to {encoded.n_samples} samples")
    encoded = Encoded(encoded.codes, rate, n_samples, codec.model, gain, mid_side)
    return Coded(codec, encoded, np.zeros(encoded.n_frames, np.bool_))


def _from_json(body: bytes, models: Models, limits: Limits, about: About) -> Coded:
    if len(body) > limits.json_bytes:
        raise Problem(
            413,
            "too_large",
            f"the JSON has {len(body)} bytes; the limit is {limits.json_bytes}",
            "send a .dacz or .npy file",
        )
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise CodesError("the body is not valid JSON") from None
    if isinstance(given, list):
        given = {"codes": given}
    unknown = set(given) - _KEYS - _FACTS
    if unknown:
        raise CodesError(f"unknown keys: {sorted(unknown)[:3]}; allowed are {sorted(_KEYS)}")
    if "codes" not in given:
        raise CodesError('the key "codes" is missing')
    about = About(
        about.model or _typed(given, "model", str),
        about.sampling_rate or _typed(given, "sampling_rate", int),
        about.n_samples or _typed(given, "n_samples", int),
    )
    gain = _typed(given, "gain", (int, float))
    gain = 1.0 if gain is None else float(np.float32(gain))
    if not 2.0**-20 <= gain <= 2.0**20:
        raise CodesError("the gain must be from 2^-20 to 2^20")
    try:
        codes = np.asarray(given["codes"])
    except (ValueError, OverflowError, RecursionError):
        raise CodesError(
            "the codes are ragged: every codebook must have the same number of frames, every channel of codebooks"
        ) from None
    return _from_array(codes, models, limits, about, gain, bool(_typed(given, "mid_side", bool)))


def _typed(given: dict[str, Any], key: str, kind: Any) -> Any:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CodesError(f"{key!r} has the wrong type")
    if isinstance(value, int) and abs(value) >= 1 << 53:
        raise CodesError(f"{key!r} is too large")
    return value


def _npy(body: bytes) -> NDArray[Any]:
    """The integers of an ``.npy`` file.

    NumPy's own reader allocates what the header claims before it has seen as many bytes. Format:
    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    version, size = body[6:7], 2 if body[6:7] == b"\1" else 4
    start = 8 + size
    length = int.from_bytes(body[8:start], "little")
    if version not in (b"\1", b"\2", b"\3") or length > min(_NPY_HEADER_BYTES, len(body) - start):
        raise FormatError("the header of this .npy file is damaged")
    try:
        header = ast.literal_eval(body[start : start + length].decode("latin-1"))
        shape, dtype, order = header["shape"], np.dtype(header["descr"]), header["fortran_order"]
        whole = len(shape) <= 3 and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise FormatError("the header of this .npy file is damaged") from None
    data = memoryview(body)[start + length :]
    if dtype.kind not in "iu":
        raise CodesError(f"codes must be integers, got {str(dtype)[:40]}")
    if not whole or math.prod(shape) * dtype.itemsize != len(data):
        raise FormatError(f"this .npy file claims shape {str(shape)[:80]} but holds {len(data)} bytes")
    array: NDArray[Any] = np.frombuffer(data, dtype)
    return np.asarray(array.reshape(shape[::-1]).T if order else array.reshape(shape))


def to_npy(encoded: Encoded) -> bytes:
    """uint16 [C, K, F]."""
    file = io.BytesIO()
    np.save(file, encoded.codes, allow_pickle=False)
    return file.getvalue()


def to_json(encoded: Encoded) -> bytes:
    """JSON that :func:`read_codes` reads."""
    model = encoded.model
    facts = {
        "model": model.name,
        "fingerprint": model.fingerprint.hex(),
        "model_sampling_rate": model.sampling_rate,
        "hop_length": model.hop_length,
        "codebook_size": model.codebook_size,
        "sampling_rate": encoded.sampling_rate,
        "channels": encoded.n_channels,
        "n_codebooks": encoded.n_codebooks,
        "n_frames": encoded.n_frames,
        "n_samples": encoded.n_samples,
        "gain": encoded.gain,
        "mid_side": encoded.mid_side,
        "codes": encoded.codes.tolist(),
    }
    return json.dumps(facts, separators=(",", ":")).encode()
