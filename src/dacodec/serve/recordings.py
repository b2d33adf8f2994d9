"""Recordings from request bodies, cut into chunks to encode. Runs in reader threads, not in the event loop."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import torch

from dacodec.audio import AudioReader, Damaged, Samples
from dacodec.audio.conversion import check_mid_side, gain_to
from dacodec.audio.parts import Counted, Part
from dacodec.batching.chunks import Chunk, chunks
from dacodec.codec import Codec
from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem


def check_size(limits: Limits, sampling_rate: int, channels: int, n_samples: int | None) -> None:
    """
    Raises:
        Problem: if audio of this size, per channel, is more than a client may send.
    """
    if channels > limits.channels:
        raise Problem(
            422,
            "too_many_channels",
            f"the audio has {channels} channels; the limit is {limits.channels}",
            "send fewer channels, or several recordings",
        )
    if not limits.least_rate <= sampling_rate <= limits.most_rate:
        raise Problem(
            422,
            "bad_rate",
            f"the sampling rate is {sampling_rate} Hz; it must be from {limits.least_rate} to {limits.most_rate}",
            "resample it first",
        )
    if n_samples is not None and n_samples > limits.audio_seconds * sampling_rate:
        raise Problem(
            413,
            "too_long",
            f"the audio is longer than {limits.audio_seconds:g} s",
            "send it in parts, or use a stream",
        )


class Recording:
    """Audio in any format, as chunks for :class:`~dacodec.serve.coding.Encoding`.

    Args:
        loudness_lufs: code at this loudness; the recording is then decoded twice.
        start_seconds, duration_seconds: only this part.
        mid_side, damaged, track: as for :meth:`Codec.encode_file`.

    Attributes:
        length: samples per channel of the part; None if the file does not say.
        gain: applied before coding.

    Raises:
        AudioError: here and on reading, if it cannot be read, or has no such part.
        Problem: if more of it has to be read than the limits allow.
    """

    def __init__(
        self,
        body: bytes,
        codec: Codec,
        limits: Limits,
        *,
        loudness_lufs: float | None = None,
        start_seconds: float = 0.0,
        duration_seconds: float | None = None,
        mid_side: bool = False,
        damaged: Damaged = "error",
        track: int | None = None,
    ) -> None:
        self._limits, self._part = limits, Part(start_seconds, duration_seconds)
        opened = partial(AudioReader, damaged=damaged, track=track)
        reader = opened(io.BytesIO(body))
        self.sampling_rate, self.channels, self.mid_side = reader.sampling_rate, reader.channels, mid_side
        self.length = self._length(reader.n_samples)
        check_mid_side(self.channels, mid_side)
        self.gain = 1.0
        if loudness_lufs is not None:
            self.gain = gain_to(self._blocks(reader), self.channels, self.sampling_rate, loudness_lufs)
            reader.close()
            reader = opened(io.BytesIO(body))
        self._counted = Counted(self.sampling_rate, None)
        blocks = self._counted.of(self._blocks(reader))
        resampled = codec.at_model_rate(blocks, self.sampling_rate, self.gain, mid_side)
        self._chunks = chunks(map(torch.from_numpy, resampled), codec.chunk_frames * codec.model.hop_length)

    def next_chunk(self) -> Chunk | None:
        """None at the end."""
        return next(self._chunks, None)

    @property
    def n_samples(self) -> int:
        """Samples per channel read so far."""
        return self._counted.n_samples

    def _length(self, n_samples: int | None) -> int | None:
        """Of the part, in a recording of ``n_samples``."""
        check_size(self._limits, self.sampling_rate, self.channels, None)
        if n_samples is None:
            return None
        start, stop = self._part.samples(self.sampling_rate, n_samples)
        check_size(self._limits, self.sampling_rate, self.channels, stop)
        return stop - start

    def _blocks(self, reader: AudioReader) -> Iterator[Samples]:
        return self._part.of_blocks(self._limited(reader), self.sampling_rate)

    def _limited(self, reader: AudioReader) -> Iterator[Samples]:
        """All blocks, as long as the limits allow: the length that a header claims may be wrong."""
        n_samples = 0
        for block in reader.blocks():
            n_samples += block.shape[1]
            check_size(self._limits, self.sampling_rate, self.channels, n_samples)
            yield block
