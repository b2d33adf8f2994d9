"""Audio files and pipes to ``.dacz`` files and pipes and back, of any length in constant memory.

These are methods of :class:`~dacodec.codec.Codec`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from dacodec.audio import (
    AudioReader,
    AudioWriter,
    Damaged,
    LoudnessMeter,
    PcmReader,
    Resampler,
    Samples,
    between,
    exactly,
    left_right,
    resample_blocks,
    resampled_length,
)
from dacodec.container import MID_SIDE, Header, Reader, Writer
from dacodec.encoded import Summary, header_of, model_of
from dacodec.errors import AudioError
from dacodec.files import new_file, open_input

if TYPE_CHECKING:
    from dacodec.codec import Codec

# Told how many seconds of audio are done, and of how many, where that is known.
Progress = Callable[[float, float | None], None]


def encode_file(
    codec: Codec,
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    loudness_lufs: float | None = None,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    damaged: Damaged = "error",
    track: int | None = None,
    **options: Any,
) -> Summary:
    """Code an audio file into a ``.dacz`` file.

    Args:
        output: appears only when it is whole.
        overwrite: replace an ``output`` that exists.
        loudness_lufs: as for :meth:`Codec.encode`; the file is read twice.
        start_seconds, duration_seconds: code only this part.
        damaged, track: as for :func:`dacodec.audio.read`.
        options: others of :meth:`Codec.encode_stream`.

    Raises:
        AudioError: if ``path`` cannot be read, or has nothing in that part.
        OutputError: if ``output`` exists or cannot be written.
    """
    part = _Part(start_seconds, duration_seconds)
    gain = 1.0
    if loudness_lufs is not None:
        if not Path(path).is_file():
            raise AudioError(f"{path} gives its audio once, and loudness takes two passes; save it to a file")
        with AudioReader(path, damaged=damaged, track=track) as reader:
            gain = gain_to(part.of(reader), reader.channels, reader.sampling_rate, loudness_lufs)
    with AudioReader(path, damaged=damaged, track=track) as reader, new_file(output, overwrite) as file:
        return encode_stream(
            codec, reader, file, gain=gain, start_seconds=start_seconds, duration_seconds=duration_seconds,
            **options,
        )  # fmt: skip


def encode_stream(
    codec: Codec,
    reader: AudioReader | PcmReader,
    file: BinaryIO,
    *,
    n_quantizers: int | None = None,
    bitrate_kbps: float | None = None,
    gain: float = 1.0,
    mid_side: bool = False,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Code what ``reader`` reads into ``file``; both may be pipes.

    Args:
        n_quantizers, bitrate_kbps: as for :meth:`Codec.encode`.
        gain: multiply by it first; decoding takes it back.
        mid_side: as for :meth:`Codec.encode`.
        start_seconds, duration_seconds: code only this part.
        progress: is told from time to time how many seconds were read, and of how many (None: unknown). What
            it raises ends the work.
    """
    n_quantizers = codec.choose_n_quantizers(reader.channels, n_quantizers, bitrate_kbps)
    check_mid_side(reader.channels, mid_side)
    part, rate = _Part(start_seconds, duration_seconds), reader.sampling_rate
    length = part.length(reader)
    header = header_of(codec.model, n_quantizers, rate, reader.channels, length, gain, mid_side)
    blocks = _Counted(part.of(reader), rate, None if length is None else length / rate, progress)
    with Writer(file, header, index=True) as writer:
        for codes in codec.encode_blocks(
            blocks, rate, n_quantizers=n_quantizers, gain=gain, mid_side=mid_side
        ):
            writer.write(codes)
        writer.close(blocks.n_samples)
    return Summary(header, writer.n_frames, blocks.n_samples)


def decode_file(
    codec: Codec,
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    subtype: str | None = None,
    allow_other_model: bool = False,
    conceal: bool = False,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Decode a ``.dacz`` file into an audio file. All of it is checked before any of it is decoded.

    Args:
        output: appears only when it is whole; its suffix tells the format.
        overwrite: replace an ``output`` that exists.
        subtype: encoding of the samples, as for :func:`dacodec.audio.write`.
        allow_other_model: as for :meth:`Codec.decode`.
        conceal: pass over damage instead of raising; what was lost fades, and time goes on. The summary tells.
        start_seconds, duration_seconds: decode only this part, to the samples that it has in the whole.
        progress: as for :meth:`Codec.encode_stream`.

    Returns:
        what is in the file.

    Raises:
        InputError, FormatError: if ``path`` cannot be read.
        ModelMismatchError: if another model made it.
        AudioError: if there is nothing in that part, or the output's format cannot hold such audio.
        OutputError: if ``output`` exists or cannot be written.
    """
    summary = Summary.read(path, conceal)
    header = summary.header
    with open_input(path) as source, new_file(output, overwrite) as file:
        part = _Part(start_seconds, duration_seconds)
        start, stop = part.samples(header.sampling_rate, summary.n_samples)
        blocks = decode_stream(
            codec, Reader(source, conceal=conceal), n_samples=summary.n_samples, start_seconds=start_seconds,
            duration_seconds=duration_seconds, allow_other_model=allow_other_model, progress=progress,
        )  # fmt: skip
        with AudioWriter(
            file, header.sampling_rate, header.channels, subtype=subtype, n_samples=stop - start,
            format=Path(output).suffix[1:] or "wav",
        ) as writer:  # fmt: skip
            for block in blocks:
                writer.write(block)
    return summary


def decode_stream(
    codec: Codec,
    reader: Reader,
    *,
    n_samples: int | None = None,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    allow_other_model: bool = False,
    progress: Progress | None = None,
) -> Iterator[Samples]:
    """Audio [C, T], bit by bit, of a ``.dacz`` stream, which may come from a pipe.

    Args:
        n_samples: in the whole stream, per channel, where the caller knows and the header does not.
        start_seconds, duration_seconds, allow_other_model, progress: as for :meth:`Codec.decode_file`.
    """
    header, part = reader.header, _Part(start_seconds, duration_seconds)
    codec.check_model(model_of(header), header.n_codebooks, allow_other_model)
    n_samples = header.n_samples if n_samples is None else n_samples
    total = None
    if reader.conceals:
        blocks = part.of_blocks(_concealed(codec, reader), header.sampling_rate)
    elif n_samples is None:
        blocks = part.of_blocks(_to_the_end(codec, reader), header.sampling_rate)
    else:
        start, stop = part.samples(header.sampling_rate, n_samples)
        total = (stop - start) / header.sampling_rate
        blocks = _between_samples(codec, reader, n_samples, start, stop)
    yield from _Counted(blocks, header.sampling_rate, total, progress)


def _concealed(codec: Codec, reader: Reader) -> Iterator[Samples]:
    """The whole stream, frames that are lost concealed."""
    header, decoder = reader.header, codec.stream_decoder(reader.header.sampling_rate)

    def audio() -> Iterator[Samples]:
        state = None
        for packet in reader:
            missing = np.full(packet.n_frames, packet.is_lost)
            pushed, state = decoder.push(packet.codes, state, missing)
            yield pushed
        if state is not None:
            yield decoder.flush(state, reader.n_samples)

    yield from as_given(audio(), header)


def as_given(blocks: Iterable[Samples], header: Header) -> Iterator[Samples]:
    """Decoded audio [C, T] as the recording was given: left and right, at its own level."""
    for block in left_right(blocks) if header.channel_coding == MID_SIDE else blocks:
        yield block / np.float32(header.gain)


def _to_the_end(codec: Codec, reader: Reader) -> Iterator[Samples]:
    """The whole stream, whose length only its end mark tells."""

    def n_samples() -> int:
        assert reader.n_samples is not None
        return reader.n_samples

    header = reader.header
    return codec.decode_blocks(
        (packet.codes for packet in reader), header.sampling_rate, n_samples=n_samples, gain=header.gain,
        mid_side=header.channel_coding == MID_SIDE,
    )  # fmt: skip


def _between_samples(
    codec: Codec, reader: Reader, n_samples: int, start: int, stop: int
) -> Iterator[Samples]:
    """Samples ``start`` to ``stop`` of ``n_samples``: only the frames that they depend on are decoded."""
    rate, model, halo = reader.header.sampling_rate, codec.model, codec.geometry.decoder_halo
    resampler = Resampler(model.sampling_rate, rate)
    first = max(0, resampler.first_input(start))  # sample at the model's rate
    from_output = start if first else 0
    last = resampled_length(stop, rate, model.sampling_rate) + resampler.reach
    last = min(last, resampled_length(n_samples, rate, model.sampling_rate))
    first_frame = max(0, first // model.hop_length - halo)
    last_frame = -(-last // model.hop_length) + halo
    codes = (packet.codes for packet in reader.packets(first_frame, last_frame))
    decoded = between(codec.decode_raw(codes), first - first_frame * model.hop_length)
    resampled = resample_blocks(exactly(decoded, last - first), model.sampling_rate, rate, from_output)
    yield from as_given(exactly(between(resampled, start - from_output), stop - start), reader.header)


def check_mid_side(channels: int, mid_side: bool) -> None:
    """Raise AudioError if mid and side are wanted of other than two channels."""
    if mid_side and channels != 2:
        raise AudioError(f"mid and side are of two channels, this has {channels}; leave mid_side out")


def gain_to(blocks: Iterable[Samples], channels: int, sampling_rate: int, target_lufs: float) -> float:
    """One gain for all channels that brings a signal in blocks [C, T] to ``target_lufs``.

    Not above what full scale allows, and as exact as a file holds it; 1.0 for silence.

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


class _Part:
    """From when to when, in seconds."""

    def __init__(self, start_seconds: float, duration_seconds: float | None) -> None:
        if not 0 <= start_seconds < np.inf:
            raise AudioError(f"the start must be 0 s or later, got {start_seconds}")
        if duration_seconds is not None and not duration_seconds > 0:
            raise AudioError(f"the duration must be more than 0 s, got {duration_seconds}")
        self._start, self._duration = start_seconds, duration_seconds

    def samples(self, sampling_rate: int, n_samples: int) -> tuple[int, int]:
        """First and last + 1 of a signal of ``n_samples``."""
        start = round(self._start * sampling_rate)
        stop = n_samples if self._duration is None else start + round(self._duration * sampling_rate)
        if start >= n_samples > 0 or stop <= start:
            raise AudioError(
                f"there is no audio from {self._start:g} s on; all of it is {n_samples / sampling_rate:g} s long"
            )
        return start, min(stop, n_samples)

    def length(self, reader: AudioReader | PcmReader) -> int | None:
        """Samples in it, where that is known beforehand."""
        if reader.n_samples is None:
            return None
        start, stop = self.samples(reader.sampling_rate, reader.n_samples)
        return stop - start

    def of(self, reader: AudioReader | PcmReader) -> Iterator[Samples]:
        return self.of_blocks(reader.blocks(), reader.sampling_rate)

    def of_blocks(self, blocks: Iterator[Samples], sampling_rate: int) -> Iterator[Samples]:
        if not self._start and self._duration is None:
            return blocks
        return self._some(blocks, *self.samples(sampling_rate, 1 << 62))

    def _some(self, blocks: Iterator[Samples], start: int, stop: int) -> Iterator[Samples]:
        seen = 0
        for block in between(blocks, start, stop):
            seen += block.shape[1]
            yield block
        if not seen:
            raise AudioError(f"there is no audio from {self._start:g} s on")


class _Counted:
    """Passes blocks on, counts them, and tells how far they are of ``total`` seconds."""

    def __init__(
        self, blocks: Iterable[Samples], sampling_rate: int, total: float | None, progress: Progress | None
    ) -> None:
        self._blocks, self._rate, self._total, self._progress = blocks, sampling_rate, total, progress
        self.n_samples = 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.n_samples += block.shape[1]
            yield block
            if self._progress:
                self._progress(self.n_samples / self._rate, self._total)
