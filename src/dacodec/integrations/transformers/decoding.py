"""Decodes several signals in a separate thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import Empty
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import torch

from dacodec.audio import Samples
from dacodec.codec.live import DecoderState, StreamDecoder
from dacodec.overlap import Channel
from dacodec.tokens.undelay import Codes

_MOST_TOGETHER = 32  # steps of the model


class AudioPiece(NamedTuple):
    """The next audio of one of the generated sequences."""

    audio: Samples  # float32 [C, T]
    sampling_rate: int
    sequence: int  # of the batch


class Signal(NamedTuple):
    """The next codes of a signal."""

    codes: Codes  # [1, K, F]
    is_whole: bool  # these are the last


class Decoding:
    """The thread, from the first codes to the last audio."""

    def __init__(
        self,
        decoder: StreamDecoder,
        n_signals: int,
        give: Callable[[AudioPiece], object],
        pieces: Channel[AudioPiece],
        max_waiting: int,
    ) -> None:
        """
        Args:
            give: called with each piece, in the thread; an exception from it ends the thread.
            pieces: closed at the end.
        """
        self._decoder, self._give, self._pieces = decoder, give, pieces
        self._states: list[DecoderState | None] = [None] * n_signals
        self._jobs: Channel[list[Signal]] = Channel(max_waiting)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="dacodec-audio", daemon=True)
        self._thread.start()

    def push(self, signals: list[Signal]) -> None:
        """Queue the next codes of every signal. Blocks while it is full; raises the thread's error."""
        if any(signal.codes.shape[2] or signal.is_whole for signal in signals) and not self._jobs.send(
            signals
        ):
            self.finish()

    def finish(self) -> None:
        """Wait until all audio has been given; raises the thread's error, if any."""
        self._jobs.end()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self, error: BaseException) -> None:
        """End the signals because of ``error``, which is raised after the audio so far."""
        self._jobs.end(error)

    def _run(self) -> None:
        try:
            with _side_stream(self._decoder.codec.engine):
                for piece in self._made():
                    if piece.audio.shape[1]:
                        self._give(piece)
        except BaseException as error:  # raised both where codes go in and where audio comes out
            self._error = error
        self._jobs.hang_up()
        self._pieces.end(self._error)

    def _made(self) -> Iterator[AudioPiece]:
        failed, waiting = None, self._waiting()
        while True:
            try:
                signals = next(waiting, None)
            except BaseException as error:
                failed, signals = error, None
            if signals is None:
                break
            yield from self._pushed(signals)
        for i in range(len(self._states)):
            yield from self._flushed(i)
        if failed is not None:
            raise failed

    def _waiting(self) -> Iterator[list[Signal]]:
        """All queued codes at once: when decoding is late, larger steps cost less."""
        while (item := self._jobs.receive()) is not None:
            jobs, failed = [item[0]], None
            while item is not None and failed is None and len(jobs) < _MOST_TOGETHER:
                try:
                    item = self._jobs.receive(0)
                except Empty:
                    break
                except BaseException as error:
                    failed = error
                else:
                    jobs += item or []
            yield [_joined(signals) for signals in zip(*jobs, strict=True)]
            if failed is not None:
                raise failed
            if item is None:
                return

    def _pushed(self, signals: list[Signal]) -> Iterator[AudioPiece]:
        more = [i for i, signal in enumerate(signals) if signal.codes.shape[2]]
        pushed = self._decoder.push_many([signals[i].codes for i in more], [self._states[i] for i in more])
        for i, (audio, state) in zip(more, pushed, strict=True):
            self._states[i] = state
            yield self._piece(audio, i)
        for i, signal in enumerate(signals):
            if signal.is_whole:
                yield from self._flushed(i)

    def _flushed(self, i: int) -> Iterator[AudioPiece]:
        state, self._states[i] = self._states[i], None
        if state is not None:
            yield self._piece(self._decoder.flush(state), i)

    def _piece(self, audio: Samples, i: int) -> AudioPiece:
        return AudioPiece(audio, self._decoder.sampling_rate, i)


def _joined(signals: tuple[Signal, ...]) -> Signal:
    codes = np.concatenate([signal.codes for signal in signals], axis=2)
    return Signal(codes, any(signal.is_whole for signal in signals))


def _side_stream(engine: Any) -> AbstractContextManager[Any]:
    """On a GPU, a CUDA stream of its own, so that the model's next step does not wait for the codec."""
    device = getattr(getattr(engine, "model", None), "device", torch.device("cpu"))
    if device.type != "cuda":
        return nullcontext()
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # the weights may still be being copied
    return torch.cuda.stream(stream)
