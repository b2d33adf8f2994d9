"""Live coding: audio in as it comes, codes out as soon as they can be, and the other way round.

All codes of a signal together are those of :meth:`Codec.encode`, and all audio is that of :meth:`Codec.decode`, whatever
the pieces. A coder is immutable; where a signal stands is a state, a plain value that is handed in and out: it can
be copied, pickled, and gone back to, and one coder serves any number of signals, one by one or many in a call.

With less look-ahead than that takes, what is still to come is guessed, again at each push: what is given out is then
close to the exact, and sooner (docs/live.md has figures).

Shapes: C channels, T samples, K codebooks in use, F frames, T and F any number of them in a push, 0 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.audio import Resampler, Samples, as_float, check_sampling_rate, resampled_length
from dacodec.audio.resampling import ResamplerState
from dacodec.concealment import Envelope, repeat_missing
from dacodec.engine import State
from dacodec.engine.rows import push_together
from dacodec.errors import AudioError, CodesError, ConfigError
from dacodec.model.quantizer import check_codes

if TYPE_CHECKING:
    from dacodec.codec import Codec

Codes = NDArray[np.uint16]

# Samples over which one guess of the audio to come goes over into the next.
_BLENDED = 128


@dataclass(frozen=True)
class EncoderState:
    """Where a signal stands that is being encoded."""

    resampler: ResamplerState
    recent: Samples  # [C, n] at the model's rate, what a guess is made from
    engine: State = None
    n_samples: int = 0  # pushed, at the given rate
    n_frames: int = 0  # that the engine has made
    n_guessed: int = 0  # given out beyond these


class PushedAudio(NamedTuple):
    codes: Codes  # uint16 [C, K, F]
    state: EncoderState


@dataclass(frozen=True)
class StreamEncoder:
    """Made by :meth:`Codec.stream_encoder`."""

    codec: Codec
    sampling_rate: int
    n_quantizers: int
    lookahead: int  # samples at the model's rate

    @property
    def lookahead_seconds(self) -> float:
        """How much must be known beyond a frame's own samples before its codes come."""
        resampler = self._resampler
        return self.lookahead / self.codec.sampling_rate + resampler.reach / resampler.from_rate

    def push(self, audio: Any, state: EncoderState | None = None) -> PushedAudio:
        """The codes that the next ``audio`` completes.

        Args:
            audio: [T] or [C, T], as for :meth:`Codec.encode`.
            state: as the push before returned it; None starts a signal.

        Raises:
            AudioError: if the audio is not valid, or has other channels than the signal.
        """
        return self.push_many([audio], [state])[0]

    def push_many(self, audio: Sequence[Any], states: Sequence[EncoderState | None]) -> list[PushedAudio]:
        """:meth:`push` for many signals, each at its own place. Those that stand alike run as one batch."""
        return self._push([self._taken(*signal) for signal in zip(audio, states, strict=True)])

    def flush(self, state: EncoderState) -> Codes:
        """The codes that are left at the signal's end, [C, K, F]."""
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
        """The push that ``audio`` is, at the model's rate."""
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
            # Of what came before, some was given out already; a guess may be of no more than that.
            line = np.concatenate([exact.codes, guessed.codes], axis=2)
            given = max(before.n_frames + before.n_guessed, p.until)
            codes = line[:, :, before.n_guessed : given - before.n_frames]
            together.append(PushedAudio(codes, replace(after, n_guessed=given - after.n_frames)))
        return together

    def _guess(self, n_frames: int, state: EncoderState) -> _EncoderPush:
        """As much sound to come as makes ``n_frames`` frames: what came last, backwards."""
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
    until: int  # frames of the signal that are to be given out


@dataclass(frozen=True)
class DecoderState:
    """Where a signal stands that is being decoded."""

    resampler: ResamplerState
    last_codes: Codes  # [C, K, 0 or 1]
    engine: State = None
    envelope: Envelope = field(default_factory=Envelope)
    n_made: int = 0  # samples at the model's rate that the engine has made
    n_frames: int = 0  # pushed
    n_samples: int = 0  # given out, at the given rate
    # [C, n], what the last guess says comes after what was given out; nothing where none is needed
    guessed: Samples = field(default_factory=lambda: np.zeros((1, 0), np.float32))


class PushedCodes(NamedTuple):
    audio: Samples  # float32 [C, T]
    state: DecoderState


@dataclass(frozen=True)
class StreamDecoder:
    """Made by :meth:`Codec.stream_decoder`."""

    codec: Codec
    sampling_rate: int
    lookahead: int  # samples at the model's rate

    @property
    def lookahead_seconds(self) -> float:
        """How much later than a frame its audio comes."""
        return (self.lookahead + self._resampler.reach) / self.codec.sampling_rate

    def push(
        self, codes: Any, state: DecoderState | None = None, missing: NDArray[np.bool_] | None = None
    ) -> PushedCodes:
        """The audio that the next ``codes`` complete.

        Args:
            codes: integers [C, K, F].
            state: as the push before returned it; None starts a signal.
            missing: [F], frames that were lost; their codes do not matter, and what is heard there fades.

        Raises:
            CodesError: if the codes are not valid, or have other channels or codebooks than the signal.
        """
        return self.push_many([codes], [state], [missing])[0]

    def push_many(
        self,
        codes: Sequence[Any],
        states: Sequence[DecoderState | None],
        missing: Sequence[NDArray[np.bool_] | None] | None = None,
    ) -> list[PushedCodes]:
        """:meth:`push` for many signals, each at its own place. Those that stand alike run as one batch."""
        lost = missing or [None] * len(codes)
        pushes = [self._taken(*signal) for signal in zip(codes, states, lost, strict=True)]
        made = self._run(pushes)
        if self.lookahead < self._exact_lookahead:
            made = self._with_guesses(made)
        return [self._given(m) for m in made]

    def flush(self, state: DecoderState, n_samples: int | None = None) -> Samples:
        """The audio that is left at the signal's end, [C, T].

        Args:
            n_samples: of the whole signal; left out, all that the frames give. With less look-ahead than the exact,
                samples beyond it may be out already.
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
        """The push that ``codes`` are, with something in the place of what is missing."""
        config = self.codec.geometry.config
        array = np.asarray(codes)
        lost = np.zeros(array.shape[-1], bool) if missing is None else np.asarray(missing, bool)
        if lost.any():
            array = np.where(lost, 0, array)
        checked = check_codes(torch.as_tensor(array), config.n_codebooks, config.codebook_size)
        frames = checked.numpy().astype(np.uint16)
        if state is None:
            state = DecoderState(self._resampler.start(len(frames)), frames[:, :, :0])
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
        """With the audio beyond that the last frame, again and again, would make: as much as is to be given out."""
        n = -(-(self._exact_lookahead - self.lookahead + _BLENDED) // self.codec.model.hop_length)
        guesses = self._run([_DecoderPush(m.state.last_codes.repeat(n, axis=2), m.state) for m in made])
        return [
            m._replace(audio=np.concatenate([m.audio, guess.audio], axis=1))
            for m, guess in zip(made, guesses, strict=True)
        ]

    def _given(self, made: _Made) -> PushedCodes:
        """What is due of the audio that was made."""
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
        if n_samples is not None:  # what pads the last frame is cut off before resampling, as offline
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
    first: int  # place of its first sample in the signal
    state: DecoderState


def _blended(before: Samples, after: Samples) -> Samples:
    """``after``, with its first samples gone over to from ``before``; both begin at the same instant."""
    n = min(before.shape[1], after.shape[1])
    if not n:
        return after
    gain = (np.arange(n, dtype=np.float32) + 0.5) / n
    mixed = before[:, :n] * (1 - gain) + after[:, :n] * gain
    return np.concatenate([mixed, after[:, n:]], axis=1)


def _samples(audio: Any) -> Samples:
    """[C, T], T may be 0."""
    array = np.asarray(audio) if not hasattr(audio, "detach") else audio
    if 0 in tuple(array.shape) and len(array.shape) in (1, 2):
        return np.zeros((1 if len(array.shape) == 1 else array.shape[0], 0), np.float32)
    return as_float(array)


def stream_encoder(
    codec: Codec,
    sampling_rate: int,
    *,
    n_quantizers: int | None = None,
    lookahead_seconds: float | None = None,
) -> StreamEncoder:
    """A coder of live audio of ``sampling_rate`` Hz.

    Args:
        n_quantizers: codebooks to use, 1..N; left out, all.
        lookahead_seconds: left out, as much as gives exactly the codes of offline coding; less gives codes
            sooner, and others. Resampling adds its own.

    Raises:
        ConfigError: if the look-ahead is negative.
    """
    n = codec.choose_n_quantizers(1, n_quantizers, None)
    lookahead = _lookahead(codec, lookahead_seconds, codec.geometry.encoder_lookahead)
    return StreamEncoder(codec, check_sampling_rate(sampling_rate), n, lookahead)


def stream_decoder(
    codec: Codec, sampling_rate: int | None = None, *, lookahead_seconds: float | None = None
) -> StreamDecoder:
    """A decoder of live codes to audio of ``sampling_rate`` Hz; left out, the model's.

    Args:
        lookahead_seconds: left out, as much as gives exactly the audio of offline coding; less gives audio
            sooner, close to that. Resampling adds its own.

    Raises:
        ConfigError: if the look-ahead is negative.
    """
    exact = codec.geometry.decoder_lookahead * codec.model.hop_length
    lookahead = _lookahead(codec, lookahead_seconds, exact)
    return StreamDecoder(codec, check_sampling_rate(sampling_rate or codec.sampling_rate), lookahead)


def _lookahead(codec: Codec, seconds: float | None, exact: int) -> int:
    """Samples at the model's rate; more than the exact is of no use."""
    if seconds is None:
        return exact
    if not seconds >= 0:
        raise ConfigError(f"a look-ahead of {seconds} s is negative")
    return min(exact, round(seconds * codec.sampling_rate))
