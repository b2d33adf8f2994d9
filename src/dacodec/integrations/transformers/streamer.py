"""Plays a language model's audio while it generates: ``model.generate(..., streamer=AudioStreamer(codec, play))``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from queue import Empty
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.generation.streamers import BaseStreamer

from dacodec.audio import Samples
from dacodec.errors import ConfigError, OutputError, RowError
from dacodec.integrations.transformers.decoding import AudioPiece, Decoding, Signal
from dacodec.overlap import Channel
from dacodec.tokens import BadId, Cut, Layout, Undelay, UndelayState

if TYPE_CHECKING:
    from dacodec.codec import Codec

OnAudio = Callable[[Samples, int], object]

__all__ = ["AudioPiece", "AudioStreamer"]


class AudioStreamer(BaseStreamer):
    """A streamer for ``generate`` that decodes rows of ids to audio as soon as a frame and its look-ahead are
    there.

    Together, the pieces of a sequence are what :meth:`Codec.decode` makes of all its frames. The codec runs
    in a thread of its own, and on a GPU in a CUDA stream of its own, so that the model continues meanwhile;
    it waits only when the codec or the listener is ``max_rows`` rows behind.

    Audio is passed to ``on_audio(samples [C, T], sampling_rate)``; without it, the streamer is a synchronous
    and asynchronous iterator of :class:`AudioPiece`, and ``generate`` must run in another thread. If the
    listener stops, ``generate`` stops with an OutputError; an exception of ``on_audio`` is raised by
    ``generate``, too. In a ``with`` block around ``generate``, a failure of the model ends the iteration with
    its exception, after the audio so far.

    Attributes:
        bad: for each sequence, the model's ids that are not codes. The frame before is repeated there.
        cut: for each sequence, at the end, the rows that were not part of a complete frame.
    """

    def __init__(
        self,
        codec: Codec,
        on_audio: OnAudio | Sequence[OnAudio] | None = None,
        layout: Layout | str = "dia",
        skip_prompt: bool = True,
        *,
        prompt: Any = None,
        sampling_rate: int | None = None,
        lookahead_seconds: float | None = None,
        max_rows: int = 256,
        timeout_seconds: float | None = None,
    ) -> None:
        """
        Args:
            on_audio: for a batch, one for each of its sequences.
            skip_prompt: give only new audio; otherwise the prompt's audio comes first.
            prompt: ids [B, n, K] as the processor gives them (Dia's ``decoder_input_ids``), needed to play the
                prompt: ``generate`` passes a streamer guesses where the last frames of the prompt are known.
            sampling_rate: of the audio, in Hz; by default the model's.
            lookahead_seconds: as for :meth:`Codec.stream_decoder`: less for less delay, at the cost of exactness.
            timeout_seconds: how long an iteration waits for the next piece; by default forever.

        Raises:
            ConfigError: if the layout is unknown or has other codebooks than the model.
        """
        self._undelay = Undelay(layout)
        self._undelay.layout.check(codec.n_codebooks, codec.model.codebook_size)
        self._decoder = codec.stream_decoder(sampling_rate, lookahead_seconds=lookahead_seconds)
        self._on_audio = [on_audio] if callable(on_audio) else on_audio
        self._skip_prompt, self._timeout, self._max_rows = skip_prompt, timeout_seconds, max_rows
        self._mask = None if prompt is None or skip_prompt else _array(prompt)
        self._pieces: Channel[AudioPiece] = Channel(max_rows)
        self._decoding: Decoding | None = None
        self._states: list[UndelayState] = []
        self._n_rows = 0
        self.bad: list[list[BadId]] = []
        self.cut: list[Cut] = []

    def put(self, value: Any) -> None:
        """Called by ``generate`` with the prompt, then with the ids of each step, [B * K].

        Raises:
            RowError: for ids that do not fit the layout; what came before is heard.
            ConfigError: for a batch of another size than ``on_audio``.
        """
        ids = _array(value)
        if self._decoding is None:
            self._begin(ids)
        elif not (self._undelay.layout.has_text and ids.size == 1):
            self._take(self._as_step(ids))

    def end(self) -> None:
        """Called by ``generate`` after the last step; returns when all audio has been given."""
        if self._decoding is None:
            self._pieces.end()
            return
        decoding, self._decoding = self._decoding, None
        self.cut = [self._undelay.flush(state) for state in self._states]
        decoding.finish()

    def close(self, error: BaseException | None = None) -> None:
        """Stop, if running: listeners get the audio so far, then ``error``."""
        error = error or OutputError("the streamer was closed")
        if self._decoding is None:
            self._pieces.end(error)
        else:
            self._decoding.abandon(error)
            self._decoding = None

    def __enter__(self) -> AudioStreamer:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            self.close(error)

    def __iter__(self) -> Iterator[AudioPiece]:
        listened = False
        try:
            while (item := self._receive()) is not None:
                yield item[0]
            listened = True
        finally:
            if not listened:
                self._pieces.hang_up()

    async def __aiter__(self) -> AsyncIterator[AudioPiece]:
        listened = False
        try:
            while (item := await asyncio.to_thread(self._receive)) is not None:
                yield item[0]
            listened = True
        finally:
            if not listened:
                self._pieces.hang_up()
                self._pieces.end()  # wakes a thread that waits for a piece

    def _receive(self) -> tuple[AudioPiece] | None:
        try:
            return self._pieces.receive(self._timeout)
        except Empty:
            raise OutputError(f"no audio came for {self._timeout} s: did generate fail?") from None

    def _begin(self, ids: NDArray[Any]) -> None:
        prompt = _as_prompt(ids, self._undelay.layout)  # [B, n, K]
        n_sequences = len(prompt)
        if self._on_audio is not None and len(self._on_audio) != n_sequences:
            raise ConfigError(
                f"a batch of {n_sequences} needs as many functions: on_audio=[...], got {len(self._on_audio)}"
            )
        self._states, self._n_rows = [UndelayState()] * n_sequences, 0
        self.bad, self.cut = [[] for _ in range(n_sequences)], []
        self._decoding = Decoding(self._decoder, n_sequences, self._give, self._pieces, self._max_rows)
        if not self._skip_prompt:
            self._check_prompt(prompt)
            self._take(prompt)

    def _take(self, rows: NDArray[Any]) -> None:
        """The next rows [B, n, K]."""
        assert self._decoding is not None
        rows = self._with_mask(rows)
        self._n_rows += rows.shape[1]
        signals = []
        try:
            for i, state in enumerate(self._states):
                codes, self._states[i], bad = self._undelay.push(rows[i], state)
                self.bad[i] += bad
                signals.append(Signal(codes[None], self._states[i].ended is not None))
        except RowError:
            self._end_with_what_came()
            raise
        self._decoding.push(signals)

    def _as_step(self, ids: NDArray[Any]) -> NDArray[Any]:
        """[B, 1, K]"""
        expected = len(self._states) * self._undelay.layout.n_codebooks
        if ids.size != expected:
            row, layout = self._n_rows, self._undelay.layout
            n_sequences = len(self._states)
            self._end_with_what_came()
            raise RowError(
                f"layout {layout.name!r} takes {layout.n_codebooks} ids a step for each of {n_sequences} "
                f"sequences, got {ids.shape}",
                row,
            )
        return ids.reshape(len(self._states), 1, -1)

    def _end_with_what_came(self) -> None:
        if self._decoding is not None:
            decoding, self._decoding = self._decoding, None
            decoding.finish()

    def _with_mask(self, rows: NDArray[Any]) -> NDArray[Any]:
        """``rows``, with what the prompt says over them, as ``generate`` does it after it has told us."""
        if self._mask is None:
            return rows
        known = self._mask[:, self._n_rows : self._n_rows + rows.shape[1]]
        head, rest = np.split(rows, [known.shape[1]], axis=1)
        return np.concatenate([np.where(known == self._undelay.layout.padding, head, known), rest], axis=1)

    def _check_prompt(self, prompt: NDArray[Any]) -> None:
        if self._mask is None and (prompt != self._undelay.layout.begin).any():
            self._end_with_what_came()
            raise ConfigError("to hear the prompt, give it: prompt=inputs['decoder_input_ids']")

    def _give(self, piece: AudioPiece) -> None:
        if self._on_audio is not None:
            self._on_audio[piece.sequence](piece.audio, piece.sampling_rate)
        elif not self._pieces.send(piece):
            raise OutputError("nobody listens to the audio any more")


def _array(value: Any) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
    return array


def _as_prompt(ids: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """The first ids that ``generate`` shows, [B, n, K]: Dia gives [B, K, n], Parler-TTS and MusicGen [B * K, n]."""
    k = layout.n_codebooks
    if layout.has_text:
        return np.full((1, 0, k), layout.begin)
    if ids.ndim == 1:
        ids = ids[:, None]
    if ids.ndim == 3 and ids.shape[1] != k and ids.shape[2] == k:
        return ids
    if ids.ndim == 2 and len(ids) % k == 0:
        ids = ids.reshape(-1, k, ids.shape[1])
    if ids.ndim != 3 or ids.shape[1] != k:
        raise RowError(f"layout {layout.name!r} has {k} codebooks, the model's prompt is {ids.shape}", 0)
    prompt: NDArray[Any] = ids.swapaxes(1, 2)
    return prompt
