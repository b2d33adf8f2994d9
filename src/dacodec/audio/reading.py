"""Audio files in: whole, or block by block in constant memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import soundfile

from dacodec.audio.arrays import Samples, check_finite, check_sampling_rate
from dacodec.audio.containers import Content, parse
from dacodec.audio.ffmpeg import FfmpegDecoder
from dacodec.audio.findings import Damage, Damaged, Findings, RatedBlock, joined
from dacodec.audio.flac import is_plain
from dacodec.audio.formats import Format, recognised
from dacodec.audio.messages import File, explained
from dacodec.audio.mpeg import MpegDecoder
from dacodec.audio.ogg import OggDecoder
from dacodec.audio.pcm import SampleFormat, check_channels, pcm_blocks
from dacodec.audio.pcm_files import PcmFileDecoder
from dacodec.audio.sndfile import SndfileDecoder
from dacodec.audio.source import Source
from dacodec.errors import AudioError


class _Pair(NamedTuple):
    samples: Samples  # [C, T]
    sampling_rate: int  # Hz


class Audio(_Pair):
    """``samples`` [C, T] and ``sampling_rate`` in Hz; ``damage`` lists what a damaged file lacks."""

    damage: Sequence[Damage] = ()


def read(file: File, *, damaged: Damaged = "error", track: int | None = None) -> Audio:
    """Read a whole recording.

    No sound in the file is dropped without an error or a warning, and no file is refused whose sound is
    complete. A length claimed by a header is binding for plain samples, FLAC and other lossless formats, and
    for m4a to within a packet: if there is less, that is an error. For MP3, Ogg and other coded audio it is a
    hint. If there is more than claimed, in any format, all is read, with a warning. Encoder delay and padding
    are removed if the file states them. If rate or channels change midway, all is converted to those of the
    beginning, with a warning.

    Args:
        file: path, or a binary file object, which is read from its current position; also a pipe, if the
            format can be read forward. The name is ignored; the content decides.
        damaged: ``"error"`` to refuse a damaged file, ``"keep"`` to take what can be decoded; the result's
            ``damage`` says where, in seconds, and how much is missing.
        track: which of several audio tracks, from 1; by default the file's default one.

    Returns:
        The file's samples [C, T] and sampling rate. Formats are listed in ``dacodec.audio.formats``; they are
        read by our own reader of PCM, by libsndfile, and by FFmpeg in PyAV.

    Raises:
        AudioError: if the file does not exist, cannot be read, is not audio, is empty or damaged, has more
            than 255 channels or an impossible rate, or contains NaN or infinity.

    Warns:
        AudioWarning: for anything unusual that is not an error.
    """
    with AudioReader(file, damaged=damaged, track=track) as reader:
        audio = Audio(np.concatenate(list(reader.blocks()), axis=1), reader.sampling_rate)
        audio.damage = tuple(reader.damage)
        return audio


class AudioReader:
    """:func:`read`, block by block in constant memory. Close it, or use it as a context manager.

    Args:
        file, damaged, track: as for :func:`read`.

    Attributes:
        sampling_rate: in Hz.
        channels: C.
        n_samples: samples per channel; None if known only at the end.

    Raises:
        AudioError: here and on reading, as :func:`read`.
    """

    def __init__(self, file: File, *, damaged: Damaged = "error", track: int | None = None) -> None:
        self._file, self._findings = file, Findings(file, damaged)
        with explained("read", file):
            self._source = Source(file)
            try:
                self._decoder = _decoder(self._source, self._findings, track)
                self.sampling_rate = check_sampling_rate(self._decoder.sampling_rate)
                self.channels = check_channels(self._decoder.channels)
            except BaseException:
                self._source.close()
                raise
        self.n_samples = self._decoder.n_samples

    @property
    def damage(self) -> list[Damage]:
        """What is missing from a damaged file, as far as it was read."""
        return self._findings.damage

    def blocks(self) -> Iterator[Samples]:
        """All samples in blocks [C, n]; can be called once."""
        with explained("read", self._file):
            position = 0
            for block in joined(self._decoder.blocks(), self.sampling_rate, self.channels):
                if not self._decoder.is_finite:
                    check_finite(block, position)
                position += block.shape[1]
                yield block
            if not position:
                raise AudioError("it holds no samples")

    def close(self) -> None:
        self._decoder.close()
        self._source.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PcmReader:
    """Raw samples from ``file``, as programs pass them through pipes; otherwise like :class:`AudioReader`."""

    n_samples: int | None = None

    def __init__(
        self, file: BinaryIO, sampling_rate: int, channels: int, format: SampleFormat = "s16le"
    ) -> None:
        self.sampling_rate = check_sampling_rate(sampling_rate)
        self.channels = check_channels(channels)
        self._file, self._format = file, format

    def blocks(self) -> Iterator[Samples]:
        """As :meth:`AudioReader.blocks`; a block is what one read returns: live audio is not delayed."""
        position = 0
        with explained("read", self._file):
            for block in pcm_blocks(self._file, self.channels, self._format):
                check_finite(block, position)
                position += block.shape[1]
                yield block
            if not position:
                raise AudioError("it holds no samples")

    def close(self) -> None:
        """Does nothing: the file's owner closes it."""


class _Decoder(Protocol):
    sampling_rate: int
    channels: int
    n_samples: int | None
    is_finite: bool  # for certain: its samples are integers

    def blocks(self) -> Iterator[RatedBlock]: ...

    def close(self) -> None: ...


def _decoder(source: Source, findings: Findings, track: int | None) -> _Decoder:
    format = recognised(source)
    if track not in (None, 1) and format.reader not in ("ogg", "ffmpeg"):
        raise AudioError(f"there is no track {track}; it has one")
    if format.reader == "containers":
        return _contained(source, format, findings, track)
    if format.reader == "flac" and source.seekable() and not findings.keeps and is_plain(source):
        return SndfileDecoder(source, findings)
    if format.reader == "libsndfile":
        return _unknown(source, findings)
    source.release()
    if format.reader == "mpeg":
        return MpegDecoder(source, findings)
    if format.reader == "ogg":
        return OggDecoder(source, findings, track)
    return FfmpegDecoder(source, format.demuxer, findings, track)


def _contained(source: Source, format: Format, findings: Findings, track: int | None) -> _Decoder:
    """The decoder of a file for plain samples, or for coded audio in one, which FFmpeg reads."""
    content = parse(source)
    if content is None:
        raise AudioError("its header is damaged")
    if content.sample is not None:
        check_channels(content.channels)
        check_sampling_rate(content.sampling_rate)
        source.release()
        return PcmFileDecoder(source, content, findings)
    source.rewind()
    source.release()
    try:
        decoder = FfmpegDecoder(source, format.demuxer, findings, track)
    except AudioError as error:
        raise AudioError(f"it holds {content.coding}, not PCM, and that cannot be decoded: {error}") from None
    return _Claimed(decoder, source, content, findings)


class _Claimed:
    """``decoder``, plus a check that the coded audio is as long as its container's header claims."""

    def __init__(self, decoder: FfmpegDecoder, source: Source, content: Content, findings: Findings) -> None:
        self.is_finite = decoder.is_finite
        self._decoder, self._source, self._content, self._findings = decoder, source, content, findings
        self.sampling_rate, self.channels = decoder.sampling_rate, decoder.channels
        self.n_samples = decoder.n_samples

    def blocks(self) -> Iterator[RatedBlock]:
        length = 0
        for rate, samples in self._decoder.blocks():
            length += samples.shape[1]
            yield rate, samples
        size, content = self._source.size, self._content
        if (
            size is not None
            and content.is_firm
            and content.claim
            and content.start + content.claim > size + 1
        ):
            self._findings.damaged(
                f"its header claims {content.claim} bytes of audio, the file holds {size - content.start}: it was "
                "cut off",
                length / self.sampling_rate,
            )

    def close(self) -> None:
        self._decoder.close()


def _unknown(source: Source, findings: Findings) -> _Decoder:
    head = source.peek(3)
    # libsndfile would take these for MP3 and flood the terminal with messages.
    like_mp3 = head == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0")
    if source.seekable() and not like_mp3:
        with contextlib.suppress(soundfile.LibsndfileError):
            return SndfileDecoder(source, findings)
    hint = "" if source.seekable() else ", or none that can be read from a pipe: try it as a file"
    raise AudioError(
        f"this is not a known audio format{hint}; raw samples have no header with their rate, "
        "convert them to WAV"
    )
