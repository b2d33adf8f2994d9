"""Reading by FFmpeg, through PyAV, whose wheels include it.

FFmpeg is told which demuxer to use, so that it neither guesses nor opens other files, and never logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from dacodec.audio.arrays import Samples
from dacodec.audio.findings import Findings, RatedBlock
from dacodec.audio.samples import scaled
from dacodec.audio.source import Forward, Readable
from dacodec.errors import AudioError

_SCALES = {"u8": 7, "s16": 15, "s32": 31, "s64": 63}
_DTYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}
_GATHERED = 1 << 14  # least samples in a block, except the last
_HAVE_CHECKSUMS = ("flac", "wavpack", "tta", "ape")
_EXACT = ("flac",)  # formats where even one sample less than claimed is lost audio
# Formats whose headers give the track's length, exact to a packet: many encoders count the last one's
# padding.
_FILL_PACKETS = ("mov", "mpc", "mpc8", "dsf")  # what exceeds the length by less than a packet is padding
_TELL_LENGTH = ("mov", "wv", "ape", "tta", "mpc", "mpc8", "dsf", "flac", "tak")


class FfmpegDecoder:
    """Decodes one audio track of ``source``, from position 0 on.

    Args:
        demuxer: FFmpeg's name for the format.
        track: its number, from 1; None for the default one.
    """

    n_samples: int | None = None
    is_finite = False

    def __init__(self, source: Readable, demuxer: str, findings: Findings, track: int | None = None) -> None:
        import av

        self._av, self._findings, self._demuxer = av, findings, demuxer
        self._seekable = source.seekable()
        self._container: Any = None
        try:
            self._open(source, demuxer, track)
            self._decoding = self._decode()
            self._first = next(self._decoding, None)
        except AudioError:
            self.close()
            raise
        except (av.FFmpegError, ValueError, OverflowError) as error:
            self.close()
            hint = "" if self._seekable else "; a pipe may not be enough for it, save it to a file"
            raise AudioError(f"it is damaged, or not audio ({_reason(error)}){hint}") from None
        if self._first is None:
            self.close()
            raise AudioError("it holds no samples")
        self.sampling_rate: int = self._first.sample_rate
        self.channels: int = self._first.layout.nb_channels

    def _open(self, source: Readable, demuxer: str, track: int | None) -> None:
        # No protocols, so that no file named inside can be opened.
        options = {"format_whitelist": demuxer, "protocol_whitelist": "none"}
        try:
            self._container = self._av.open(
                source if source.seekable() else Forward(source),
                format=demuxer,
                options=options,
                buffer_size=1 << 16,
                **self._bad_tags(),
            )
        except self._av.FFmpegError:
            self._check_index_first()
            raise
        self._stream = self._chosen(track)
        self._context = self._stream.codec_context
        if self._context is None:
            raise AudioError("its audio is coded in a way that FFmpeg cannot decode")
        self._context.thread_count = 1
        if self._context.name == "alac":  # has neither delay nor padding, whatever a CAF file says
            self._context.flags2 |= self._av.codec.context.Flags2.skip_manual
        if self._context.name in _HAVE_CHECKSUMS:
            self._context.options = {"err_detect": "crccheck+explode"}
        self._claim = self._claimed()
        self._position = 0  # samples decoded so far

    def _bad_tags(self) -> dict[str, Any]:
        """Tags need not be UTF-8. From version 19 on PyAV takes them as they are."""
        return {"metadata_errors": "replace"} if int(self._av.__version__.partition(".")[0]) < 19 else {}

    def _check_index_first(self) -> None:
        if self._demuxer == "mov" and not self._seekable:
            raise AudioError(
                "its index comes after its audio, so it cannot be read from a pipe; save it to a file, or move "
                "the index: ffmpeg -i IN -c copy -movflags +faststart OUT"
            )

    def _chosen(self, track: int | None) -> Any:
        streams = self._container.streams.audio
        if not streams:
            raise AudioError("it has no audio track")
        if track is not None and not 1 <= track <= len(streams):
            raise AudioError(f"there is no track {track}; it has {self._listed(streams)}")
        default = next((s for s in streams if s.disposition.value & 1), streams[0])
        if track is None and len(streams) > 1:
            number = streams.index(default) + 1
            self._findings.warn(
                f"it has {len(streams)} audio tracks: {self._listed(streams)}; reading track {number}, "
                "select another one with track=N (--track N)"
            )
        return default if track is None else streams[track - 1]

    @staticmethod
    def _listed(streams: Any) -> str:
        def facts(stream: Any) -> str:
            context, name = stream.codec_context, stream.metadata.get("title") or stream.language
            if context is None:
                return "unknown coding"
            return f"{context.name}, {context.sample_rate} Hz, {context.channels} channel(s)" + (
                f", {name}" if name else ""
            )

        return "; ".join(f"{number}: {facts(stream)}" for number, stream in enumerate(streams, 1))

    def _claimed(self) -> int | None:
        """The number of samples that the header claims, at the decoder's rate."""
        stream = self._stream
        if self._demuxer not in _TELL_LENGTH or not stream.duration or not stream.time_base:
            return None
        rate = self._context.sample_rate
        smpb = (self._container.metadata.get("iTunSMPB") or stream.metadata.get("iTunSMPB") or "").split()
        if len(smpb) > 3:  # iTunes: delay, padding and what remains, in hexadecimal
            try:
                return int(smpb[3], 16) or None
            except ValueError:
                pass
        return int(stream.duration * stream.time_base * rate + Fraction(1, 2))

    def blocks(self) -> Iterator[RatedBlock]:
        waiting: list[Any] = []
        longest = position = 0
        before: Any = None
        for frame in self._frames():
            if before is not None and not _alike(before, frame):
                self._warn_of_change(before, frame, position)
                if waiting:
                    yield _rated_block(waiting)
                waiting = []
            before = frame
            waiting.append(frame)
            position += frame.samples
            longest = max(longest, frame.samples)
            at_end = self._claim is not None and abs(self._claim - position) <= 2 * longest
            if sum(f.samples for f in waiting) >= _GATHERED and not at_end:
                yield _rated_block(waiting)
                waiting = []
        surplus = 0 if self._claim is None else position - self._claim
        if waiting:
            rate, samples = _rated_block(waiting)
            if 0 < surplus <= longest and self._demuxer in _FILL_PACKETS:
                samples = samples[:, : max(0, samples.shape[1] - surplus)]
                surplus = 0
            yield rate, samples
        self._judge(surplus, position, longest)

    def _judge(self, surplus: int, position: int, longest: int) -> None:
        missing = -surplus - sum(damage.missing or 0 for damage in self._findings.damage)
        slack = 0 if self._demuxer in _EXACT else longest
        if missing > slack and not self._findings.account(missing):
            self._findings.damaged(
                f"its header claims {self._claim} samples, the file holds {position}: it was cut off",
                position / self.sampling_rate,
                missing,
            )
        elif surplus > 0 or (missing > 0 and self._demuxer not in _FILL_PACKETS):
            self._findings.warn(
                f"its header claims {self._claim} samples, there are {position}; all are read"
            )

    def _frames(self) -> Iterator[Any]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._decoding

    def _decode(self) -> Iterator[Any]:
        """All frames that there are; reports packets that cannot be decoded."""
        failed, reason, due = 0, "", None
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (self._av.FFmpegError, ValueError) as error:
                failed, reason = failed + 1, _reason(error)
                continue
            for frame in frames:
                if failed:
                    at_edge = not self._position or not packet.size  # the last one, which flushes the decoder
                    self._tell_failed(failed, reason, at_edge)
                    failed = 0
                due = self._check_time(frame, due)
                self._position += frame.samples
                yield frame
        if failed and not self._position:
            raise AudioError(f"none of its audio can be decoded ({reason})")
        if failed:
            self._tell_failed(failed, reason, at_edge=True)

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except (self._av.FFmpegError, ValueError) as error:
            if not self._position:
                self._check_index_first()
            if self._claim is None:  # otherwise the length shows it
                self._findings.damaged(f"it is damaged ({_reason(error)})", self._seconds)

    @property
    def _seconds(self) -> float:
        return self._position / (self._context.sample_rate or 1)

    def _tell_failed(self, failed: int, reason: str, at_edge: bool) -> None:
        if at_edge and failed == 1 and self._demuxer not in _EXACT:
            where = "last" if self._position else "first"
            self._findings.warn(f"its {where} packet cannot be decoded ({reason}); the rest is read")
        else:
            self._findings.damaged(
                f"it is damaged: {failed} packet(s) cannot be decoded ({reason})", self._seconds
            )

    def _check_time(self, frame: Any, due: int | None) -> int | None:
        """When the next frame is due, in samples; a jump means lost sound."""
        if self._demuxer not in _EXACT or self._claim is None:
            return None
        if frame.pts is None:
            return None if due is None else due + int(frame.samples)
        at = int(frame.pts * frame.time_base * frame.sample_rate)
        lost = 0 if due is None else at - due
        if 0 < lost <= self._claim - self._position and not self._findings.account(lost):
            self._findings.damaged(f"it is damaged: {lost} samples are missing", self._seconds, lost)
        return at + int(frame.samples)

    def _warn_of_change(self, before: Any, after: Any, position: int) -> None:
        if before.sample_rate != after.sample_rate:
            what = f"its sampling rate changes from {before.sample_rate} to {after.sample_rate} Hz"
        elif before.layout.nb_channels != after.layout.nb_channels:
            what = f"it changes from {before.layout.nb_channels} to {after.layout.nb_channels} channels"
        else:
            return
        self._findings.warn(f"{what} after {position} samples; everything is converted to how it begins")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()


def _alike(a: Any, b: Any) -> bool:
    return (a.sample_rate, a.layout.nb_channels, a.format.name) == (
        b.sample_rate,
        b.layout.nb_channels,
        b.format.name,
    )


def _rated_block(frames: list[Any]) -> RatedBlock:
    """Frames of one kind, as one block."""
    return frames[0].sample_rate, frame_samples(frames)


def frame_samples(frames: list[Any]) -> Samples:
    """Frames of one kind as [C, n]."""
    name, channels = frames[0].format.name, frames[0].layout.nb_channels
    kind = name.removesuffix("p")
    if kind not in _DTYPES:
        raise AudioError(f"its sample format is not supported ({name})")
    dtype = _DTYPES[kind]
    counted = [(frame.planes, frame.samples) for frame in frames]
    if name == kind:  # interleaved
        parts = [np.frombuffer(planes[0], dtype, n * channels) for planes, n in counted]
        values = np.concatenate(parts).reshape(-1, channels).T
    else:
        values = np.empty((channels, sum(n for _, n in counted)), dtype)
        for channel, row in enumerate(values):
            np.concatenate([np.frombuffer(planes[channel], dtype, n) for planes, n in counted], out=row)
    if kind in _SCALES:
        return np.asarray(scaled(values.T, _SCALES[kind]) - np.float32(kind == "u8"))
    return np.ascontiguousarray(values, np.float32)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
