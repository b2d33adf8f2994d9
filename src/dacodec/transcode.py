"""Audio files and pipes to ``.dacz`` files and pipes and back, of any length in constant memory.

These are methods of :class:`~dacodec.codec.Codec`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from dacodec.container import MID_SIDE, Header, Packet, Reader, Writer
from dacodec.encoded import Summary, header_of, model_of
from dacodec.errors import AudioError
from dacodec.files import new_file, open_input
from dacodec.overlap import ahead, behind

if TYPE_CHECKING:
    from dacodec.codec import Codec

Codes = NDArray[np.uint16]

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
    with (
        AudioReader(path, damaged=damaged, track=track) as reader,
        new_file(output, overwrite, sources=[path]) as file,
    ):
        encoding = _Encoding(
            codec,
            reader,
            file,
            gain=gain,
            start_seconds=start_seconds,
            duration_seconds=duration_seconds,
            **options,
        )
        if not Path(path).is_file():  # a pipe that gives nothing would hold its thread
            return encoding.write(encoding.code(encoding.read()))
        with ahead(encoding.read()) as blocks:
            return behind(encoding.write, encoding.code(blocks))


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
    encoding = _Encoding(
        codec,
        reader,
        file,
        n_quantizers=n_quantizers,
        bitrate_kbps=bitrate_kbps,
        gain=gain,
        mid_side=mid_side,
        start_seconds=start_seconds,
        duration_seconds=duration_seconds,
        progress=progress,
    )
    return encoding.write(encoding.code(encoding.read()))


class _Encoding:
    """:func:`encode_stream` in three steps, each of which may have a thread of its own."""

    def __init__(
        self,
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
    ) -> None:
        n_quantizers = codec.choose_n_quantizers(reader.channels, n_quantizers, bitrate_kbps)
        check_mid_side(reader.channels, mid_side)
        part, rate = _Part(start_seconds, duration_seconds), reader.sampling_rate
        length = part.length(reader)
        self._header = header_of(codec.model, n_quantizers, rate, reader.channels, length, gain, mid_side)
        self._codec, self._file, self._progress = codec, file, progress
        self._given, self._read = part.of(reader), _Counted(rate, length)

    def read(self) -> Iterator[Samples]:
        """At the model's rate."""
        header = self._header
        mid_side = header.channel_coding == MID_SIDE
        return self._codec.at_model_rate(
            self._read.of(self._given), header.sampling_rate, header.gain, mid_side
        )

    def code(self, blocks: Iterable[Samples]) -> Iterator[Codes]:
        told = _telling(blocks, self._read, self._progress)
        return self._codec.encode_raw(told, self._header.n_codebooks)

    def write(self, blocks: Iterable[Codes]) -> Summary:
        with Writer(self._file, self._header, index=True) as writer:
            for codes in blocks:
                writer.write(codes)
            writer.close(self._read.n_samples)
        return Summary(self._header, writer.n_frames, self._read.n_samples)


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
    with open_input(path) as source, new_file(output, overwrite, sources=[path]) as file:
        part = _Part(start_seconds, duration_seconds)
        start, stop = part.samples(header.sampling_rate, summary.n_samples)
        decoding = _decoding(
            codec, Reader(source, conceal=conceal), summary.n_samples, part, allow_other_model
        )
        written = _Counted(header.sampling_rate, stop - start)

        def write(decoded: Iterator[Samples]) -> None:
            with AudioWriter(
                file,
                header.sampling_rate,
                header.channels,
                subtype=subtype,
                n_samples=stop - start,
                format=Path(output).suffix[1:] or "wav",
            ) as writer:
                for block in written.of(decoding.finish(decoded)):
                    writer.write(block)

        with ahead(decoding.packets) as packets:
            behind(write, _telling(decoding.decode(packets), written, progress))
        written.tell(progress)
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
    decoding = _decoding(codec, reader, n_samples, _Part(start_seconds, duration_seconds), allow_other_model)
    given = _Counted(reader.header.sampling_rate, decoding.length)
    blocks = given.of(decoding.finish(decoding.decode(decoding.packets)))
    yield from _telling(blocks, given, progress)


class _Decoding(NamedTuple):
    """:func:`decode_stream` in three steps, each of which may have a thread of its own."""

    packets: Iterator[Packet]
    decode: Callable[
        [Iterator[Packet]], Iterator[Samples]
    ]  # at the model's rate, unless frames are concealed
    finish: Callable[[Iterator[Samples]], Iterator[Samples]]  # as the recording was given
    length: int | None = None  # samples of that, where it is known


def _decoding(
    codec: Codec, reader: Reader, n_samples: int | None, part: _Part, allow_other_model: bool
) -> _Decoding:
    header = reader.header
    codec.check_model(model_of(header), header.n_codebooks, allow_other_model)
    n_samples = header.n_samples if n_samples is None else n_samples
    if reader.conceals:
        return _concealed(codec, reader, part)
    if n_samples is None:
        return _to_the_end(codec, reader, part)
    return _between_samples(codec, reader, n_samples, *part.samples(header.sampling_rate, n_samples))


def _concealed(codec: Codec, reader: Reader, part: _Part) -> _Decoding:
    """Frames that are lost concealed."""
    header, decoder = reader.header, codec.stream_decoder(reader.header.sampling_rate)

    def decode(packets: Iterator[Packet]) -> Iterator[Samples]:
        state = None
        for packet in packets:
            missing = np.full(packet.n_frames, packet.is_lost)
            pushed, state = decoder.push(packet.codes, state, missing)
            yield pushed
        if state is not None:
            yield decoder.flush(state, reader.n_samples)

    def finish(decoded: Iterator[Samples]) -> Iterator[Samples]:
        return part.of_blocks(as_given(decoded, header), header.sampling_rate)

    return _Decoding(iter(reader), decode, finish)


def _to_the_end(codec: Codec, reader: Reader, part: _Part) -> _Decoding:
    """A stream whose length only its end mark tells."""

    def n_samples() -> int:
        assert reader.n_samples is not None
        return reader.n_samples

    header = reader.header

    def finish(decoded: Iterator[Samples]) -> Iterator[Samples]:
        whole = codec.at_given_rate(
            decoded, header.sampling_rate, n_samples, header.gain, header.channel_coding == MID_SIDE
        )
        return part.of_blocks(whole, header.sampling_rate)

    return _Decoding(iter(reader), lambda packets: codec.decode_raw(_codes(packets)), finish)


def _between_samples(codec: Codec, reader: Reader, n_samples: int, start: int, stop: int) -> _Decoding:
    """Samples ``start`` to ``stop`` of ``n_samples``: only the frames that they depend on are decoded."""
    rate, model, halo = reader.header.sampling_rate, codec.model, codec.geometry.decoder_halo
    resampler = Resampler(model.sampling_rate, rate)
    first = max(0, resampler.first_input(start))  # sample at the model's rate
    from_output = start if first else 0
    last = resampled_length(stop, rate, model.sampling_rate) + resampler.reach
    last = min(last, resampled_length(n_samples, rate, model.sampling_rate))
    first_frame = max(0, first // model.hop_length - halo)
    last_frame = -(-last // model.hop_length) + halo

    def decode(packets: Iterator[Packet]) -> Iterator[Samples]:
        return between(codec.decode_raw(_codes(packets)), first - first_frame * model.hop_length)

    def finish(decoded: Iterator[Samples]) -> Iterator[Samples]:
        resampled = resample_blocks(exactly(decoded, last - first), model.sampling_rate, rate, from_output)
        return as_given(exactly(between(resampled, start - from_output), stop - start), reader.header)

    return _Decoding(reader.packets(first_frame, last_frame), decode, finish, stop - start)


def _codes(packets: Iterable[Packet]) -> Iterator[Codes]:
    return (packet.codes for packet in packets)


def as_given(blocks: Iterable[Samples], header: Header) -> Iterator[Samples]:
    """Decoded audio [C, T] as the recording was given: left and right, at its own level."""
    for block in left_right(blocks) if header.channel_coding == MID_SIDE else blocks:
        yield block / np.float32(header.gain)


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
    """Counts what passes of a signal of ``length`` samples, None if that is unknown."""

    def __init__(self, sampling_rate: int, length: int | None) -> None:
        self._rate = sampling_rate
        self._total = None if length is None else length / sampling_rate
        self.n_samples = 0

    def of(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self.n_samples += block.shape[1]
            yield block

    def tell(self, progress: Progress | None) -> None:
        if progress:
            progress(self.n_samples / self._rate, self._total)


def _telling(blocks: Iterable[Samples], counted: _Counted, progress: Progress | None) -> Iterator[Samples]:
    """Passes blocks on, and tells after each how much was counted: maybe in another thread, never from there."""
    for block in blocks:
        yield block
        counted.tell(progress)
