"""The core of arrays, files and live audio: blocks of samples to blocks of codes, and back.

Shapes: C channels, T samples, K codebooks in use, F frames. Each channel of a recording is coded on its own,
all with the same gain, which keeps the stereo image.

Long signals are coded in chunks, with exactly the result of the whole (``batching/chunks.py``). Arrays, files
and pipes share this one path, block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacodec.audio import Samples, ending_at, exactly, resample_blocks, resampled_length
from dacodec.audio.conversion import as_given, at_rate
from dacodec.batching.chunks import chunk_frames, decode_chunks, encode_chunks
from dacodec.encoded import Model
from dacodec.engine import Engine
from dacodec.errors import CodesError, ModelMismatchError
from dacodec.geometry import Geometry

Codes = NDArray[np.uint16]

# Frames at the end that may be padding only: the last, and one more because resamplers round lengths.
PADDING_FRAMES = 2


class Coder:
    """Codes and decodes signals block by block. Arguments: see :class:`~dacodec.codec.Codec`."""

    def __init__(self, engine: Engine, model: Model, chunk_seconds: float | None = None) -> None:
        self.engine = engine
        self.model = model
        self.chunk_seconds = chunk_seconds or engine.chunk_seconds

    @property
    def geometry(self) -> Geometry:
        return self.engine.geometry

    @property
    def sampling_rate(self) -> int:
        """The model's rate, in Hz."""
        return self.model.sampling_rate

    @property
    def n_codebooks(self) -> int:
        return self.geometry.config.n_codebooks

    @property
    def chunk_frames(self) -> int:
        """Frames in a chunk."""
        return chunk_frames(self.engine, self.chunk_seconds)

    def encode_blocks(
        self,
        blocks: Iterable[Samples],
        sampling_rate: int,
        *,
        n_quantizers: int | None = None,
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Codes]:
        """Codes in blocks [C, K, F] of a recording in blocks [C, T]: the same as of the whole."""
        yield from self.encode_raw(self.at_model_rate(blocks, sampling_rate, gain, mid_side), n_quantizers)

    def decode_blocks(
        self,
        blocks: Iterable[Codes],
        sampling_rate: int,
        *,
        n_samples: int | Callable[[], int],
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Samples]:
        """Audio in blocks [C, T] of codes in blocks [C, K, F].

        Args:
            n_samples: total per channel; a function if it is known only after the last block.
        """
        yield from self.at_given_rate(self.decode_raw(blocks), sampling_rate, n_samples, gain, mid_side)

    def choose_n_quantizers(
        self, n_channels: int, n_quantizers: int | None, bitrate_kbps: float | None
    ) -> int:
        most = self.n_codebooks
        if n_quantizers is not None and bitrate_kbps is not None:
            raise CodesError("give n_quantizers or bitrate_kbps, not both")
        if bitrate_kbps is not None:
            each = self.geometry.config.bitrate_kbps(1) * n_channels
            if not bitrate_kbps >= each:
                raise CodesError(
                    f"{bitrate_kbps:g} kbit/s is less than one codebook takes for {n_channels} channel(s); "
                    f"give at least {each:.3f}"
                )
            return min(most, int(bitrate_kbps / each + 1e-9))
        if n_quantizers is None:
            return most
        if isinstance(n_quantizers, bool) or not 1 <= n_quantizers <= most:
            raise CodesError(f"n_quantizers must be from 1 to {most}, got {n_quantizers}")
        return n_quantizers

    def at_model_rate(
        self, blocks: Iterable[Samples], sampling_rate: int, gain: float = 1.0, mid_side: bool = False
    ) -> Iterator[Samples]:
        """A recording in blocks [C, T], prepared for :meth:`encode_raw`: mid/side, gain, the model's rate."""
        yield from at_rate(self.sampling_rate, blocks, sampling_rate, gain, mid_side)

    def encode_raw(self, blocks: Iterable[Samples], n_quantizers: int | None = None) -> Iterator[Codes]:
        """Codes in blocks [C, K, F] of audio at the model's rate in blocks [C, T]."""
        audio = map(torch.from_numpy, blocks)
        return map(to_uint16, encode_chunks(self.engine, audio, n_quantizers, self.chunk_frames))

    def decode_raw(self, blocks: Iterable[Codes]) -> Iterator[Samples]:
        """All the audio of codes in blocks [C, K, F], in blocks [C, T] at the model's rate."""
        codes = (torch.from_numpy(block.astype(np.int64)) for block in blocks)
        return (block.numpy() for block in decode_chunks(self.engine, codes, self.chunk_frames))

    def at_given_rate(
        self,
        decoded: Iterable[Samples],
        sampling_rate: int,
        n_samples: int | Callable[[], int],
        gain: float = 1.0,
        mid_side: bool = False,
    ) -> Iterator[Samples]:
        """What :meth:`decode_raw` gives, as the recording was given; arguments of :meth:`decode_blocks`."""

        # The last frame's padding was added after resampling, so it is cut off before resampling back.
        def n_model() -> int:
            n = n_samples if isinstance(n_samples, int) else n_samples()
            return resampled_length(n, sampling_rate, self.sampling_rate)

        if isinstance(n_samples, int):
            cut = exactly(decoded, n_model())
            given = exactly(resample_blocks(cut, self.sampling_rate, sampling_rate), n_samples)
        else:
            cut = ending_at(decoded, n_model, PADDING_FRAMES * self.model.hop_length)
            resampled = resample_blocks(cut, self.sampling_rate, sampling_rate)
            given = ending_at(resampled, n_samples, -(-sampling_rate // self.sampling_rate))
        yield from as_given(given, gain, mid_side)

    def check_model(self, theirs: Model, n_codebooks: int, allow_other_model: bool = False) -> None:
        """Raise ModelMismatchError unless codes of ``theirs`` can be decoded here."""
        mine = self.model
        shape = ("sampling_rate", "hop_length", "codebook_size")
        fits = all(getattr(mine, name) == getattr(theirs, name) for name in shape)
        if not fits or n_codebooks > self.n_codebooks:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r}, whose shape differs from that of {mine.name!r}; "
                f"load {theirs.name!r} to decode them"
            )
        if mine.fingerprint != theirs.fingerprint and not allow_other_model:
            raise ModelMismatchError(
                f"these codes are of {theirs.name!r} ({theirs.fingerprint.hex()[:12]}), not of {mine.name!r} "
                f"({mine.fingerprint.hex()[:12]}); load that model, or pass allow_other_model=True"
            )


def to_uint16(codes: Tensor) -> Codes:
    return codes.numpy().astype(np.uint16)
