"""Shared by the commands of ``dacodec stream``: sound in and out, Ctrl-C, the loop, the load."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from dacodec.audio import PcmWriter, SampleFormat, Samples
    from dacodec.cli.devices import Speaker
    from dacodec.codec import Codec

T = TypeVar("T")


def warm_up(codec: Codec) -> None:
    """Make the first calls, which are slow, before the signal starts."""
    import numpy as np

    codes = codec.encode(np.zeros(codec.model.hop_length), codec.sampling_rate)
    codec.decode(codes)


def seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def samples_in(rate: int, channels: int, raw: str, recorded: bool) -> Iterator[Samples]:
    """Blocks [C, n] until the end of the input, or Ctrl-C."""
    from dacodec.audio import PcmReader
    from dacodec.cli.devices import microphone

    ended = end_on_interrupt()
    if recorded:
        return microphone(rate, channels, ended)
    return PcmReader(sys.stdin.buffer, rate, channels, cast("SampleFormat", raw)).blocks()


def samples_out(
    rate: int, channels: int, raw: str, played: bool
) -> AbstractContextManager[PcmWriter | Speaker]:
    from dacodec.audio import PcmWriter
    from dacodec.cli.devices import speaker

    return speaker(rate, channels) if played else PcmWriter(sys.stdout.buffer, cast("SampleFormat", raw))


def end_on_interrupt() -> threading.Event:
    """Make Ctrl-C act like the end of the input: what has been read is still finished.

    Standard input becomes empty, and the returned event is set.
    """
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())

    signal.signal(signal.SIGINT, end)
    return ended


class Load:
    """Measures how much of the time was spent computing."""

    def __init__(self, sampling_rate: int, lookahead_seconds: float) -> None:
        self._rate, self._lookahead = sampling_rate, lookahead_seconds
        self._audio = self._work = self._longest = 0.0

    def watch(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """``blocks``, measuring the time their consumer takes."""
        for block in blocks:
            started = time.perf_counter()
            yield block
            self.add(block.shape[1] / self._rate, time.perf_counter() - started)

    def add(self, audio_seconds: float, work_seconds: float) -> None:
        self._audio += audio_seconds
        self._work += work_seconds
        self._longest = max(self._longest, work_seconds)

    def tell(self, wanted: bool) -> None:
        if wanted and self._audio:
            print(
                f"{self._audio:.2f} s of audio, {self._work / self._audio:.2f} s of work per second, longest push "
                f"{1000 * self._longest:.0f} ms, look-ahead {1000 * self._lookahead:.0f} ms",
                file=sys.stderr,
            )


class Heard(NamedTuple):
    """The result of a push."""

    audio: Samples
    seconds: float  # of the signal


def hear(pieces: Iterable[T], push: Callable[[T], Heard], writer: PcmWriter | Speaker, load: Load) -> None:
    """Write what ``push`` makes of each piece, without delay."""
    for piece in pieces:
        started = time.perf_counter()
        heard = push(piece)
        load.add(heard.seconds, time.perf_counter() - started)
        writer.write(heard.audio)
        sys.stdout.buffer.flush()
