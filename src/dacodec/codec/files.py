"""Audio files and pipes to ``.dacz`` files and pipes and back: any length, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dacodec.audio import (
    AudioReader,
    AudioWriter,
    Damaged,
    PcmReader,
    Samples,
    between,
    exactly,
    resample_blocks,
)
from dacodec.audio.conversion import as_given, check_mid_side, gain_to
from dacodec.audio.parts import Counted, Part, Progress, telling
from dacodec.codec.coder import PADDING_FRAMES, Coder, Codes
from dacodec.codec.concealment import concealed
from dacodec.codec.window import window_of
from dacodec.container import Packet, Reader, Writer
from dacodec.encoded import Summary, header_of, model_of
from dacodec.errors import AudioError
from dacodec.files import new_file, open_input
from dacodec.overlap import ahead, behind


class FileCodec(Coder):
    """The calls of :class:`~dacodec.codec.Codec` for files and pipes."""

    def encode_file(
        self,
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
            output: appears only once it is complete.
            overwrite: replace an ``output`` that exists.
            loudness_lufs: as for :meth:`Codec.encode`; the file is read twice.
            start_seconds, duration_seconds: code only this part.
            damaged, track: as for :func:`dacodec.audio.read`.
            options: the other arguments of :meth:`Codec.encode_stream`.

        Raises:
            AudioError: if ``path`` cannot be read, or has no audio in that part.
            OutputError: if ``output`` exists or cannot be written.
        """
        part = Part(start_seconds, duration_seconds)
        gain = 1.0
        if loudness_lufs is not None:
            if not Path(path).is_file():
                raise AudioError(
                    f"{path} can be read only once, and loudness takes two passes; save it to a file"
                )
            with AudioReader(path, damaged=damaged, track=track) as reader:
                gain = gain_to(part.of(reader), reader.channels, reader.sampling_rate, loudness_lufs)
        with (
            AudioReader(path, damaged=damaged, track=track) as reader,
            new_file(output, overwrite, sources=[path]) as file,
        ):
            return self.encode_stream(
                reader,
                file,
                gain=gain,
                start_seconds=start_seconds,
                duration_seconds=duration_seconds,
                overlap=Path(path).is_file(),
                **options,
            )

    def encode_stream(
        self,
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
        overlap: bool = False,
    ) -> Summary:
        """Code the audio of ``reader`` into ``file``; both may be pipes.

        Args:
            n_quantizers, bitrate_kbps: as for :meth:`Codec.encode`.
            gain: applied before coding, and undone by decoding.
            mid_side: as for :meth:`Codec.encode`.
            start_seconds, duration_seconds: code only this part.
            progress: called now and then with the seconds read and the total (None if unknown). An exception
                from it stops the work.
            overlap: read ahead and write behind in threads of their own. Not for pipes: a silent pipe would
                block its thread forever.

        Raises:
            AudioError: if the audio cannot be read, or that part has none.
            CodesError: if ``n_quantizers`` or ``bitrate_kbps`` is out of range.
        """
        n_quantizers = self.choose_n_quantizers(reader.channels, n_quantizers, bitrate_kbps)
        check_mid_side(reader.channels, mid_side)
        part, rate = Part(start_seconds, duration_seconds), reader.sampling_rate
        length = part.length(reader)
        header = header_of(self.model, n_quantizers, rate, reader.channels, length, gain, mid_side)
        read = Counted(rate, length)

        def code(blocks: Iterable[Samples]) -> Iterator[Codes]:
            return self.encode_raw(telling(blocks, read, progress), n_quantizers)

        def write(blocks: Iterable[Codes]) -> Summary:
            with Writer(file, header, index=True) as writer:
                for codes in blocks:
                    writer.write(codes)
                writer.close(read.n_samples)
            return Summary(header, writer.n_frames, read.n_samples)

        blocks = self.at_model_rate(read.of(part.of(reader)), rate, header.gain, mid_side)
        if not overlap:
            return write(code(blocks))
        with ahead(blocks) as made:
            return behind(write, code(made))

    def decode_file(
        self,
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
            output: appears only once it is complete; its suffix selects the format.
            overwrite: replace an ``output`` that exists.
            subtype: encoding of the samples, as for :func:`dacodec.audio.write`.
            allow_other_model: as for :meth:`Codec.decode`.
            conceal: skip damage instead of raising: lost frames fade out and keep their time. The summary
                lists the damage.
            start_seconds, duration_seconds: decode only this part, to the same samples as in the whole.
            progress: as for :meth:`Codec.encode_stream`.

        Returns:
            What the file holds.

        Raises:
            InputError, FormatError: if ``path`` cannot be read.
            ModelMismatchError: if another model made it.
            AudioError: if that part has no audio, or the output's format cannot hold such audio.
            OutputError: if ``output`` exists or cannot be written.
        """
        summary = Summary.read(path, conceal)
        header = summary.header
        with open_input(path) as source, new_file(output, overwrite, sources=[path]) as file:
            part = Part(start_seconds, duration_seconds)
            start, stop = part.samples(header.sampling_rate, summary.n_samples)
            decoding = _decoding(
                self, Reader(source, conceal=conceal), summary.n_samples, part, allow_other_model
            )
            written = Counted(header.sampling_rate, stop - start)

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
                behind(write, telling(decoding.decode(packets), written, progress))
            written.tell(progress)
        return summary

    def decode_stream(
        self,
        reader: Reader,
        *,
        n_samples: int | None = None,
        start_seconds: float = 0.0,
        duration_seconds: float | None = None,
        allow_other_model: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Samples]:
        """The audio of a ``.dacz`` stream, which may be a pipe, in blocks [C, T].

        Args:
            n_samples: of the whole stream, per channel, where the caller knows it and the header does not.
            start_seconds, duration_seconds, allow_other_model, progress: as for :meth:`Codec.decode_file`.

        Raises:
            FormatError, ModelMismatchError, AudioError: as for :meth:`Codec.decode_file`.
        """
        decoding = _decoding(
            self, reader, n_samples, Part(start_seconds, duration_seconds), allow_other_model
        )
        given = Counted(reader.header.sampling_rate, decoding.length)
        blocks = given.of(decoding.finish(decoding.decode(decoding.packets)))
        yield from telling(blocks, given, progress)


class _Decoding(NamedTuple):
    """The three stages of :meth:`FileCodec.decode_stream`, each of which may run in a thread of its own."""

    packets: Iterator[Packet]
    decode: Callable[[Iterator[Packet]], Iterator[Samples]]  # at the model's rate
    finish: Callable[[Iterator[Samples]], Iterator[Samples]]  # as the recording was given
    length: int | None = None  # samples that ``finish`` gives, if known


def _decoding(
    coder: Coder, reader: Reader, n_samples: int | None, part: Part, allow_other_model: bool
) -> _Decoding:
    header = reader.header
    coder.check_model(model_of(header), header.n_codebooks, allow_other_model)
    n_samples = header.n_samples if n_samples is None else n_samples
    if n_samples is None or reader.conceals:
        return _to_the_end(coder, reader, part)
    return _between_samples(coder, reader, n_samples, *part.samples(header.sampling_rate, n_samples))


def _to_the_end(coder: Coder, reader: Reader, part: Part) -> _Decoding:
    """Decode a stream whose length is known only at its end; lost frames are concealed."""
    header = reader.header

    def decode(packets: Iterator[Packet]) -> Iterator[Samples]:
        return concealed(packets, coder.decode_raw, coder.model.hop_length)

    def finish(decoded: Iterator[Samples]) -> Iterator[Samples]:
        whole = coder.at_given_rate(
            decoded, header.sampling_rate, lambda: samples_read(reader), header.gain, header.is_mid_side
        )
        return part.of_blocks(whole, header.sampling_rate)

    return _Decoding(iter(reader), decode, finish)


def samples_read(reader: Reader) -> int:
    """Samples per channel of a stream that has been read to its end."""
    assert reader.n_samples is not None
    if not reader.conceals:
        return reader.n_samples
    # The end of a damaged stream may claim fewer samples than were already given out.
    header = reader.header
    held = (reader.n_frames - PADDING_FRAMES) * header.hop_length * header.sampling_rate
    return max(reader.n_samples, -(-held // header.model_sampling_rate))


def _between_samples(coder: Coder, reader: Reader, n_samples: int, start: int, stop: int) -> _Decoding:
    """Samples ``start`` to ``stop`` of ``n_samples``, decoding only the frames they depend on."""
    header = reader.header
    rate, model_rate = header.sampling_rate, coder.sampling_rate
    window = window_of(coder, rate, n_samples, start, stop)

    def decode(packets: Iterator[Packet]) -> Iterator[Samples]:
        return between(coder.decode_raw(_codes(packets)), window.skip)

    def finish(decoded: Iterator[Samples]) -> Iterator[Samples]:
        cut = exactly(decoded, window.length)
        resampled = resample_blocks(cut, model_rate, rate, window.first_output)
        part = exactly(between(resampled, start - window.first_output), stop - start)
        return as_given(part, header.gain, header.is_mid_side)

    return _Decoding(reader.packets(window.first_frame, window.last_frame), decode, finish, stop - start)


def _codes(packets: Iterable[Packet]) -> Iterator[Codes]:
    return (packet.codes for packet in packets)
