"""Recordings out of a request's bytes, and into a response's. These run in threads beside the event loop."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dacodec.audio import AudioReader, AudioWriter, Damaged, Resampler, Samples, resampled_length
from dacodec.batching.chunks import Chunk, chunks
from dacodec.codec import Codec
from dacodec.codec.coder import Codes, as_given, check_mid_side
from dacodec.container import Header, Writer
from dacodec.encoded import header_of
from dacodec.errors import AudioError
from dacodec.serve.admission import Place
from dacodec.serve.limits import Limits
from dacodec.serve.problems import Problem

_WORST_ENCODING = 4  # bytes a sample of a result


def check_size(limits: Limits, sampling_rate: int, channels: int, n_samples: int | None) -> None:
    """
    Raises:
        Problem: for more than a client may send.
    """
    if channels > limits.channels:
        raise Problem(
            422,
            "too_many_channels",
            f"it has {channels} channels, {limits.channels} are the most",
            "send the channels that matter, or several recordings",
        )
    if not limits.least_rate <= sampling_rate <= limits.most_rate:
        raise Problem(
            422,
            "bad_rate",
            f"its sampling rate is {sampling_rate} Hz, not from {limits.least_rate} to {limits.most_rate}",
            "resample it first",
        )
    if n_samples is not None and n_samples > limits.audio_seconds * sampling_rate:
        raise Problem(
            413,
            "too_long",
            f"it is longer than {limits.audio_seconds:g} s",
            "send it in parts, or through the stream",
        )


class Recording:
    """Audio of any format, as chunks for :class:`~dacodec.serve.coding.Encoding`.

    Raises:
        AudioError: here and on reading, if it cannot be read.
        Problem: if it is larger than the limits.
    """

    def __init__(
        self,
        body: bytes,
        codec: Codec,
        limits: Limits,
        mid_side: bool = False,
        damaged: Damaged = "error",
        track: int | None = None,
    ) -> None:
        self._reader = AudioReader(io.BytesIO(body), damaged=damaged, track=track)
        self._limits = limits
        self.n_samples = 0  # read so far
        self.sampling_rate, self.channels = self._reader.sampling_rate, self._reader.channels
        self.claimed = self._reader.n_samples
        self.mid_side = mid_side
        check_size(limits, self.sampling_rate, self.channels, self.claimed)
        check_mid_side(self.channels, mid_side)
        resampled = codec.at_model_rate(self._counted(), self.sampling_rate, mid_side=mid_side)
        self._chunks = chunks(map(torch.from_numpy, resampled), codec.chunk_frames * codec.model.hop_length)

    def next_chunk(self) -> Chunk | None:
        """None at the end."""
        return next(self._chunks, None)

    def _counted(self) -> Iterator[Samples]:
        for block in self._reader.blocks():
            self.n_samples += block.shape[1]
            check_size(self._limits, self.sampling_rate, self.channels, self.n_samples)
            yield block


@dataclass
class Dacz:
    """Codes into a ``.dacz`` file, as :meth:`Codec.encode_file` writes it."""

    header: Header

    @staticmethod
    def of(codec: Codec, recording: Recording, n_quantizers: int) -> Dacz:
        rate, channels = recording.sampling_rate, recording.channels
        header = header_of(
            codec.model, n_quantizers, rate, channels, recording.claimed, mid_side=recording.mid_side
        )
        return Dacz(header)

    def __call__(self, codes: Codes, n_samples: int) -> bytes:
        file = io.BytesIO()
        with Writer(file, self.header, index=True) as writer:
            writer.write(codes)
            writer.close(n_samples)
        return file.getvalue()


class Result:
    """Decoded audio at the model's rate, chunk by chunk, into a file of ``format``, as the recording was given.

    Raises:
        AudioError: if the format cannot hold such audio, or there is none.
    """

    def __init__(
        self,
        codec: Codec,
        sampling_rate: int,
        channels: int,
        n_samples: int,
        gain: float,
        mid_side: bool,
        format: str,
        subtype: str | None,
        place: Place,
    ) -> None:
        if not n_samples:
            raise AudioError("there is no audio in it")
        place.take(n_samples * channels * _WORST_ENCODING)
        self._gain, self._mid_side, self._left = gain, mid_side, n_samples
        self._model_left = resampled_length(n_samples, sampling_rate, codec.sampling_rate)
        self._resampler = Resampler(codec.sampling_rate, sampling_rate)
        self._state = self._resampler.start(channels)
        self._file = io.BytesIO()
        self._writer = AudioWriter(
            self._file, sampling_rate, channels, subtype=subtype, format=format, n_samples=n_samples
        )

    def write(self, decoded: Samples) -> None:
        """The next samples [C, n] at the model's rate; what pads the last frame is cut off before resampling."""
        decoded = decoded[:, : self._model_left]
        self._model_left -= decoded.shape[1]
        audio, self._state = self._resampler.push(decoded, self._state)
        self._give(audio)

    def close(self) -> memoryview:
        """The whole file."""
        if self._model_left:
            self.write(np.zeros((len(self._state.tail), self._model_left), np.float32))
        self._give(self._resampler.flush(self._state))
        self._writer.close()
        return self._file.getbuffer()

    def _give(self, audio: Samples) -> None:
        audio = audio[:, : self._left]
        self._left -= audio.shape[1]
        for given in as_given([audio], self._gain, self._mid_side):
            self._writer.write(given)
