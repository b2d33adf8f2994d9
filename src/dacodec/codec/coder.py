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

from dacodec import audio as audio_io
from dacodec.audio import LoudnessMeter, Samples, ending_at, exactly, resample_blocks, resampled_length
from dacodec.batching.chunks import chunk_frames, decode_chunks, encode_chunks
from dacodec.encoded import Model
from dacodec.engine import Engine
from dacodec.errors import AudioError, CodesError, ModelMismatchError
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


def at_rate(
    model_rate: int, blocks: Iterable[Samples], sampling_rate: int, gain: float = 1.0, mid_side: bool = False
) -> Iterator[Samples]:
    """A recording in blocks [C, T] as a model at ``model_rate`` codes it."""
    blocks = audio_io.mid_side(blocks) if mid_side else blocks
    scaled = blocks if gain == 1 else (block * np.float32(gain) for block in blocks)
    yield from resample_blocks(scaled, sampling_rate, model_rate)


def as_given(blocks: Iterable[Samples], gain: float, mid_side: bool) -> Iterator[Samples]:
    """Decoded audio [C, T] as the recording was given: left and right, at its own level."""
    for block in audio_io.left_right(blocks) if mid_side else blocks:
        yield block / np.float32(gain)


def check_mid_side(channels: int, mid_side: bool) -> None:
    """Raise AudioError if mid/side coding is asked for with other than two channels."""
    if mid_side and channels != 2:
        raise AudioError(f"mid/side coding needs two channels, this has {channels}; leave mid_side out")


def gain_to(blocks: Iterable[Samples], channels: int, sampling_rate: int, target_lufs: float) -> float:
    """One gain for all channels that brings a signal in blocks [C, T] to ``target_lufs`` (ITU-R BS.1770).

    Limited so that nothing clips, and rounded to float32 as in the file; 1.0 for silence.

    Raises:
        AudioError: if the target is more than 120 dB away.
    """
    meter, peak = LoudnessMeter(channels, sampling_rate), 0.0
    for block in blocks:
        meter.push(block)
        peak = max(peak, float(np.abs(block).max(initial=0)))
    loudness = meter.integrated_lufs()
    if not np.isfinite(loudness):
        return 1.0
    gain = min(10 ** ((target_lufs - loudness) / 20), max(1.0, 1 / peak))
    if not 2.0**-20 <= gain <= 2.0**20:
        raise AudioError(f"{target_lufs} LUFS is too far from the audio's {loudness:.1f}")
    return float(np.float32(gain))


def to_uint16(codes: Tensor) -> Codes:
    return codes.numpy().astype(np.uint16)
