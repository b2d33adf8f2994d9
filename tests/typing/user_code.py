"""Typical user code, for mypy --strict: tests/typing/test_typing.py checks that the public interface is typed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacodec import Codec, DacConfig, DacModel, Encoded
from dacodec.audio import read
from dacodec.errors import DacodecError
from dacodec.tokens import apply, invert


def coded(path: Path, n_quantizers: int | None = None) -> Encoded:
    codec = Codec.from_pretrained("builtin", threads=1)
    samples, sampling_rate = read(path)
    return codec.encode(samples, sampling_rate, n_quantizers=n_quantizers)


def heard(encoded: Encoded) -> NDArray[np.float32]:
    audio: NDArray[np.float32] = Codec.from_pretrained("builtin").decode(encoded)
    return audio


def rows_there_and_back(codes: NDArray[np.uint16]) -> NDArray[np.generic]:
    return invert(apply(codes, "dia"), "dia").codes


def live(pieces: list[NDArray[np.float32]]) -> list[NDArray[np.uint16]]:
    encoder, state, codes = Codec.from_pretrained("builtin").stream_encoder(44100), None, []
    for piece in pieces:
        pushed = encoder.push(piece, state)
        codes.append(pushed.codes)
        state = pushed.state
    return codes


def saved(config: DacConfig, folder: Path) -> None:
    try:
        DacModel(config).save_pretrained(folder)
    except DacodecError as error:
        print(error)
