"""Live decoding: codes in piece by piece, audio out as soon as it is determined.

Shapes: C channels, T samples, K codebooks in use, F frames; a push may have any T or F, even 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.audio import Resampler, Samples, resampled_length
from dacodec.audio.resampling import ResamplerState
from dacodec.batching.rows import push_together
from dacodec.codec.coder import Coder, Codes
from dacodec.codec.concealment import Envelope, repeat_missing
from dacodec.engine import State
from dacodec.errors import CodesError
from dacodec.model.quantizer import check_codes

# Samples over which one guess of the audio to come is cross-faded into the next.
_BLENDED = 128


@dataclass(frozen=True)
class DecoderState:
    """The position in a signal that is being decoded."""

    resampler: ResamplerState
    envelope: Envelope
    last_codes: Codes  # [C, K, 0 or 1]
    engine: State = None
    n_made: int = 0  # samples computed by the engine, at the model's rate
    n_frames: int = 0  # pushed
    n_samples: int = 0  # given out, at the output rate
    # [C, n], the last guess of the audio that follows the output so far; empty where no guess is needed
    guessed: Samples = field(default_factory=lambda: np.zeros((1, 0), np.float32))


class PushedCodes(NamedTuple):
    audio: Samples  # float32 [C, T]
    state: DecoderState


@dataclass(frozen=True)
class StreamDecoder:
    """Decodes live codes; made by :meth:`Codec.stream_decoder`."""

    codec: Coder
    sampling_rate: int
    lookahead: int  # samples at the model's rate

    @property
    def lookahead_seconds(self) -> float:
        """How much later than a frame's codes its audio comes."""
        return (self.lookahead + self._resampler.reach) / self.codec.sampling_rate

    def push(
        self, codes: Any, state: DecoderState | None = None, missing: NDArray[np.bool_] | None = None
    ) -> PushedCodes:
        """The audio that the next ``codes`` complete.

        Args:
            codes: integers [C, K, F].
            state: returned by the previous push; None starts a signal.
            missing: bool [F], frames that were lost; their codes are ignored, and their audio is concealed.

        Raises:
            CodesError: if the codes are invalid, or of other channels or codebooks than the signal's.
        """
        return self.push_many([codes], [state], [missing])[0]

    def push_many(
        self,
        codes: Sequence[Any],
        states: Sequence[DecoderState | None],
        missing: Sequence[NDArray[np.bool_] | None] | None = None,
    ) -> list[PushedCodes]:
        """:meth:`push` for many signals, each at its own position. Those in step run as one batch."""
        lost = missing or [None] * len(codes)
        pushes = [self._taken(*signal) for signal in zip(codes, states, lost, strict=True)]
        made = self._run(pushes)
        if self.lookahead < self._exact_lookahead:
            made = self._with_guesses(made)
        return [self._given(m) for m in made]

    def flush(self, state: DecoderState, n_samples: int | None = None) -> Samples:
        """The remaining audio at the end of the signal, [C, T].

        Args:
            n_samples: of the whole signal, per channel; by default all that the frames give. With less than
                the exact look-ahead, samples beyond it may have been given out already.
        """
        return self.flush_many([state], [n_samples])[0]

    def flush_many(
        self, states: Sequence[DecoderState], n_samples: Sequence[int | None] | None = None
    ) -> list[Samples]:
        """:meth:`flush` for many signals."""
        pushes = [_DecoderPush(state.last_codes[:, :, :0], state) for state in states]
        totals = n_samples or [None] * len(states)
        made = self._run(pushes, end=True)
        return [self._rest(*signal) for signal in zip(made, totals, strict=True)]

    @property
    def _exact_lookahead(self) -> int:
        return self.codec.geometry.decoder_lookahead * self.codec.model.hop_length

    @property
    def _resampler(self) -> Resampler:
        return Resampler(self.codec.sampling_rate, self.sampling_rate)

    def _taken(
        self, codes: Any, state: DecoderState | None, missing: NDArray[np.bool_] | None
    ) -> _DecoderPush:
        """``codes`` checked and made a push, with missing frames filled in."""
        config = self.codec.geometry.config
        array = np.asarray(codes)
        lost = np.zeros(array.shape[-1], bool) if missing is None else np.asarray(missing, bool)
        if lost.any():
            array = np.where(lost, 0, array)
        checked = check_codes(torch.as_tensor(array), config.n_codebooks, config.codebook_size)
        frames = checked.numpy().astype(np.uint16)
        if state is None:
            envelope = Envelope(sees_ahead=self.lookahead >= self.codec.model.hop_length)
            state = DecoderState(self._resampler.start(len(frames)), envelope, frames[:, :, :0])
        if frames.shape[:2] != state.last_codes.shape[:2]:
            raise CodesError(
                f"got [channels, codebooks] = {list(frames.shape[:2])}, this signal has "
                f"{list(state.last_codes.shape[:2])}"
            )
        before = state.last_codes if state.last_codes.shape[2] else None
        frames = repeat_missing(frames, lost, before)
        state = replace(
            state,
            envelope=state.envelope.add(lost),
            last_codes=np.concatenate([state.last_codes, frames], axis=2)[:, :, -1:],
        )
        return _DecoderPush(frames, state)

    def _with_guesses(self, made: list[_Made]) -> list[_Made]:
        """``made`` and a guess of the audio to come, as far as it is needed: the last frame, repeated."""
        n = -(-(self._exact_lookahead - self.lookahead + _BLENDED) // self.codec.model.hop_length)
        guesses = self._run([_DecoderPush(m.state.last_codes.repeat(n, axis=2), m.state) for m in made])
        return [
            m._replace(audio=np.concatenate([m.audio, guess.audio], axis=1))
            for m, guess in zip(made, guesses, strict=True)
        ]

    def _given(self, made: _Made) -> PushedCodes:
        """The computed audio that is due."""
        state, hop = made.state, self.codec.model.hop_length
        given = state.envelope.position
        until = max(given, state.n_made, state.n_frames * hop - self.lookahead)
        due, beyond = np.split(made.audio[:, given - made.first :], [until - given], axis=1)
        if until > given:
            due, state = _blended(state.guessed, due), replace(state, guessed=beyond[:, :_BLENDED])
        audio, envelope = state.envelope.apply(due, hop)
        resampled, resampler = self._resampler.push(audio, state.resampler)
        n_samples = state.n_samples + resampled.shape[1]
        return PushedCodes(
            resampled, replace(state, resampler=resampler, envelope=envelope, n_samples=n_samples)
        )

    def _rest(self, made: _Made, n_samples: int | None) -> Samples:
        state, given = made.state, made.state.envelope.position
        audio = _blended(state.guessed, made.audio[:, given - made.first :])
        if n_samples is not None:  # the last frame's padding is cut off before resampling, as offline
            n_model = resampled_length(n_samples, self.sampling_rate, self.codec.sampling_rate)
            audio = audio[:, : max(0, n_model - given)]
        audio, _ = state.envelope.apply(audio, self.codec.model.hop_length)
        resampled, resampler = self._resampler.push(audio, state.resampler)
        rest = np.concatenate([resampled, self._resampler.flush(resampler)], axis=1)
        return rest if n_samples is None else rest[:, : max(0, n_samples - state.n_samples)]

    def _run(self, pushes: list[_DecoderPush], end: bool = False) -> list[_Made]:
        hop = self.codec.model.hop_length
        pushed = push_together(
            partial(self.codec.engine.push_codes, end=end),
            [torch.from_numpy(p.frames.astype(np.int64)) for p in pushes],
            [p.state.engine for p in pushes],
            [p.state.n_frames * hop - p.state.n_made for p in pushes],
        )
        return [
            _Made(
                audio.numpy(),
                p.state.n_made,
                replace(
                    p.state,
                    engine=engine,
                    n_made=p.state.n_made + audio.shape[1],
                    n_frames=p.state.n_frames + p.frames.shape[2],
                ),
            )
            for p, (audio, engine) in zip(pushes, pushed, strict=True)
        ]


class _DecoderPush(NamedTuple):
    frames: Codes
    state: DecoderState


class _Made(NamedTuple):
    audio: Samples  # at the model's rate
    first: int  # position of its first sample in the signal
    state: DecoderState


def _blended(before: Samples, after: Samples) -> Samples:
    """Cross-fade from ``before`` to ``after``, which begin at the same instant."""
    n = min(before.shape[1], after.shape[1])
    if not n:
        return after
    gain = (np.arange(n, dtype=np.float32) + 0.5) / n
    mixed = before[:, :n] * (1 - gain) + after[:, :n] * gain
    return np.concatenate([mixed, after[:, n:]], axis=1)
