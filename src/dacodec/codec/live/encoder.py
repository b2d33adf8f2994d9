"""Live encoding: audio in piece by piece, codes out as soon as they are determined.

Shapes: C channels, T samples, K codebooks in use, F frames; a push may have any T or F, even 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from dacodec.audio import Resampler, Samples, as_float, resampled_length
from dacodec.audio.resampling import ResamplerState
from dacodec.batching.rows import push_together
from dacodec.codec.coder import Coder, Codes
from dacodec.engine import State
from dacodec.errors import AudioError


@dataclass(frozen=True)
class EncoderState:
    """The position in a signal that is being encoded."""

    resampler: ResamplerState
    recent: Samples  # [C, n] at the model's rate, from which guesses are made
    engine: State = None
    n_samples: int = 0  # pushed, at the input rate
    n_frames: int = 0  # computed by the engine
    n_guessed: int = 0  # given out beyond these


class PushedAudio(NamedTuple):
    codes: Codes  # uint16 [C, K, F]
    state: EncoderState


@dataclass(frozen=True)
class StreamEncoder:
    """Encodes live audio; made by :meth:`Codec.stream_encoder`."""

    codec: Coder
    sampling_rate: int
    n_quantizers: int
    lookahead: int  # samples at the model's rate

    @property
    def lookahead_seconds(self) -> float:
        """How much audio beyond a frame's own samples is needed before its codes come."""
        resampler = self._resampler
        return self.lookahead / self.codec.sampling_rate + resampler.reach / resampler.from_rate

    def push(self, audio: Any, state: EncoderState | None = None) -> PushedAudio:
        """The codes that the next ``audio`` completes.

        Args:
            audio: [T] or [C, T], as for :meth:`Codec.encode`.
            state: returned by the previous push; None starts a signal.

        Raises:
            AudioError: if the audio is invalid, or its number of channels is not the signal's.
        """
        return self.push_many([audio], [state])[0]

    def push_many(self, audio: Sequence[Any], states: Sequence[EncoderState | None]) -> list[PushedAudio]:
        """:meth:`push` for many signals, each at its own position. Those in step run as one batch."""
        return self._push([self._taken(*signal) for signal in zip(audio, states, strict=True)])

    def flush(self, state: EncoderState) -> Codes:
        """The remaining codes at the end of the signal, [C, K, F]."""
        return self.flush_many([state])[0]

    def flush_many(self, states: Sequence[EncoderState]) -> list[Codes]:
        """:meth:`flush` for many signals."""
        geometry, pushes = self.codec.geometry, []
        for state in states:
            rest = self._resampler.flush(state.resampler)
            n_model = resampled_length(state.n_samples, self.sampling_rate, self.codec.sampling_rate)
            n_frames = geometry.frames_needed(n_model)
            padding = geometry.samples_needed(n_frames) - n_model
            pushes.append(_EncoderPush(np.pad(rest, ((0, 0), (0, padding))), state, n_frames))
        made = self._run(pushes, end=True)
        return [
            codes[:, :, p.state.n_guessed : p.until - p.state.n_frames]
            for p, (codes, _) in zip(pushes, made, strict=True)
        ]

    @property
    def _resampler(self) -> Resampler:
        return Resampler(self.sampling_rate, self.codec.sampling_rate)

    def _taken(self, audio: Any, state: EncoderState | None) -> _EncoderPush:
        """``audio`` checked, resampled to the model's rate and made a push."""
        samples = _samples(audio)
        if state is None:
            state = EncoderState(self._resampler.start(len(samples)), np.zeros((len(samples), 0), np.float32))
        if len(samples) != len(state.resampler.tail):
            raise AudioError(f"got {len(samples)} channel(s), this signal has {len(state.resampler.tail)}")
        resampled, resampler = self._resampler.push(samples, state.resampler)
        exact, hop = self.codec.geometry.encoder_lookahead, self.codec.model.hop_length
        recent = np.concatenate([state.recent, resampled], axis=1)
        n_recent = min(exact - self.lookahead, recent.shape[1])
        state = replace(
            state,
            resampler=resampler,
            recent=recent[:, recent.shape[1] - n_recent :],
            n_samples=state.n_samples + samples.shape[1],
        )
        return _EncoderPush(resampled, state, max(0, (resampler.n_output - self.lookahead) // hop))

    def _push(self, pushes: list[_EncoderPush]) -> list[PushedAudio]:
        pushed = self._run(pushes)
        if self.lookahead == self.codec.geometry.encoder_lookahead:
            return pushed
        guesses = [self._guess(p.until, state) for p, (_, state) in zip(pushes, pushed, strict=True)]
        together = []
        for p, exact, guessed in zip(pushes, pushed, self._run(guesses), strict=True):
            before, after = p.state, exact.state
            # Frames already given out as guesses are skipped; a guess may reach no further than those.
            line = np.concatenate([exact.codes, guessed.codes], axis=2)
            given = max(before.n_frames + before.n_guessed, p.until)
            codes = line[:, :, before.n_guessed : given - before.n_frames]
            together.append(PushedAudio(codes, replace(after, n_guessed=given - after.n_frames)))
        return together

    def _guess(self, n_frames: int, state: EncoderState) -> _EncoderPush:
        """A guess of the audio to come, enough for ``n_frames`` frames: the most recent audio mirrored."""
        geometry = self.codec.geometry
        needed = (
            n_frames * self.codec.model.hop_length + geometry.encoder_lookahead - state.resampler.n_output
        )
        n = max(0, needed)
        mirrored = state.recent[:, ::-1][:, :n]
        return _EncoderPush(np.pad(mirrored, ((0, 0), (0, n - mirrored.shape[1]))), state, n_frames)

    def _run(self, pushes: list[_EncoderPush], end: bool = False) -> list[PushedAudio]:
        hop = self.codec.model.hop_length
        pushed = push_together(
            partial(self.codec.engine.push_audio, n_quantizers=self.n_quantizers, end=end),
            [torch.from_numpy(np.ascontiguousarray(p.samples)) for p in pushes],
            [p.state.engine for p in pushes],
            [p.state.resampler.n_output - p.state.n_frames * hop for p in pushes],
        )
        return [
            PushedAudio(
                codes.numpy().astype(np.uint16),
                replace(p.state, engine=engine, n_frames=p.state.n_frames + codes.shape[2]),
            )
            for p, (codes, engine) in zip(pushes, pushed, strict=True)
        ]


class _EncoderPush(NamedTuple):
    samples: Samples  # at the model's rate
    state: EncoderState
    until: int  # frames of the signal to give out by now


def _samples(audio: Any) -> Samples:
    """[C, T], T may be 0."""
    array = np.asarray(audio) if not hasattr(audio, "detach") else audio
    if 0 in tuple(array.shape) and len(array.shape) in (1, 2):
        return np.zeros((1 if len(array.shape) == 1 else array.shape[0], 0), np.float32)
    return as_float(array)
