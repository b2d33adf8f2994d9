"""Live coding: audio in as it comes, codes out as soon as they can be, and the other way round.

All codes of a signal together are those of :meth:`Codec.encode`, and all audio is that of :meth:`Codec.decode`, whatever
the pieces. A coder is immutable; where a signal stands is a state, a plain value that is handed in and out: it can
be copied, pickled, and gone back to, and one coder serves any number of signals at a time.

Shapes: C channels, T samples, K codebooks in use, F frames, T and F any number of them in a push, 0 too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dacodec.audio import Resampler, Samples, as_float, check_sampling_rate, resampled_length
from dacodec.audio.resampling import ResamplerState
from dacodec.concealment import Envelope, repeat_missing
from dacodec.engine import State
from dacodec.errors import AudioError, CodesError
from dacodec.model.quantizer import check_codes

if TYPE_CHECKING:
    from dacodec.codec import Codec

Codes = NDArray[np.uint16]


@dataclass(frozen=True)
class EncoderState:
    """Where a signal stands that is being encoded."""

    resampler: ResamplerState
    engine: State = None
    n_samples: int = 0  # pushed, at the given rate
    n_frames: int = 0  # given out


class PushedAudio(NamedTuple):
    codes: Codes  # uint16 [C, K, F]
    state: EncoderState


@dataclass(frozen=True)
class StreamEncoder:
    """Made by :meth:`Codec.stream_encoder`."""

    codec: Codec
    sampling_rate: int
    n_quantizers: int

    @property
    def lookahead_seconds(self) -> float:
        """How much must be known beyond a frame's own samples before its codes come."""
        resampler = self._resampler
        return (
            self.codec.geometry.encoder_lookahead / self.codec.sampling_rate
            + resampler.reach / resampler.from_rate
        )

    def push(self, audio: Any, state: EncoderState | None = None) -> PushedAudio:
        """The codes that the next ``audio`` completes.

        Args:
            audio: [T] or [C, T], as for :meth:`Codec.encode`.
            state: as the push before returned it; None starts a signal.

        Raises:
            AudioError: if the audio is not valid, or has other channels than the signal.
        """
        samples = _samples(audio)
        if state is None:
            state = EncoderState(self._resampler.start(len(samples)))
        if len(samples) != len(state.resampler.tail):
            raise AudioError(f"got {len(samples)} channel(s), this signal has {len(state.resampler.tail)}")
        resampled, resampler = self._resampler.push(samples, state.resampler)
        state = replace(state, resampler=resampler, n_samples=state.n_samples + samples.shape[1])
        return self._push(resampled, state, end=False)

    def flush(self, state: EncoderState) -> Codes:
        """The codes that are left at the signal's end, [C, K, F]."""
        geometry, resampler = self.codec.geometry, state.resampler
        rest = self._resampler.flush(resampler)
        n_model = resampled_length(state.n_samples, self.sampling_rate, self.codec.sampling_rate)
        n_frames = geometry.frames_needed(n_model)
        padding = geometry.samples_needed(n_frames) - n_model
        codes = self._push(np.pad(rest, ((0, 0), (0, padding))), state, end=True).codes
        return codes[:, :, : n_frames - state.n_frames]

    @property
    def _resampler(self) -> Resampler:
        return Resampler(self.sampling_rate, self.codec.sampling_rate)

    def _push(self, samples: Samples, state: EncoderState, end: bool) -> PushedAudio:
        codes, engine = self.codec.engine.push_audio(
            torch.from_numpy(samples), state.engine, self.n_quantizers, end
        )
        state = replace(state, engine=engine, n_frames=state.n_frames + codes.shape[2])
        return PushedAudio(codes.numpy().astype(np.uint16), state)


@dataclass(frozen=True)
class DecoderState:
    """Where a signal stands that is being decoded."""

    resampler: ResamplerState
    last_codes: Codes  # [C, K, 0 or 1]
    engine: State = None
    envelope: Envelope = field(default_factory=Envelope)
    n_samples: int = 0  # given out, at the given rate


class PushedCodes(NamedTuple):
    audio: Samples  # float32 [C, T]
    state: DecoderState


@dataclass(frozen=True)
class StreamDecoder:
    """Made by :meth:`Codec.stream_decoder`."""

    codec: Codec
    sampling_rate: int

    @property
    def lookahead_seconds(self) -> float:
        """How much later than a frame its audio comes."""
        resampler = self._resampler
        hop = self.codec.model.hop_length
        return (self.codec.geometry.decoder_lookahead * hop + resampler.reach) / self.codec.sampling_rate

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
        audio, state = self._decode(frames, state, end=False)
        resampled, resampler = self._resampler.push(audio, state.resampler)
        return PushedCodes(
            resampled, replace(state, resampler=resampler, n_samples=state.n_samples + resampled.shape[1])
        )

    def flush(self, state: DecoderState, n_samples: int | None = None) -> Samples:
        """The audio that is left at the signal's end, [C, T].

        Args:
            n_samples: of the whole signal; left out, all that the frames give.
        """
        audio, after = self._decode(state.last_codes[:, :, :0], state, end=True)
        if n_samples is not None:  # what pads the last frame is cut off before resampling, as offline
            n_model = resampled_length(n_samples, self.sampling_rate, self.codec.sampling_rate)
            audio = audio[:, : max(0, n_model - state.envelope.position)]
        resampled, resampler = self._resampler.push(audio, after.resampler)
        rest = np.concatenate([resampled, self._resampler.flush(resampler)], axis=1)
        return rest if n_samples is None else rest[:, : max(0, n_samples - state.n_samples)]

    @property
    def _resampler(self) -> Resampler:
        return Resampler(self.codec.sampling_rate, self.sampling_rate)

    def _decode(self, frames: Codes, state: DecoderState, end: bool) -> PushedCodes:
        """Audio at the model's rate."""
        codes = torch.from_numpy(frames.astype(np.int64))
        decoded, engine = self.codec.engine.push_codes(codes, state.engine, end)
        audio, envelope = state.envelope.apply(decoded.numpy(), self.codec.model.hop_length)
        return PushedCodes(audio, replace(state, engine=engine, envelope=envelope))


def _samples(audio: Any) -> Samples:
    """[C, T], T may be 0."""
    array = np.asarray(audio) if not hasattr(audio, "detach") else audio
    if 0 in tuple(array.shape) and len(array.shape) in (1, 2):
        return np.zeros((1 if len(array.shape) == 1 else array.shape[0], 0), np.float32)
    return as_float(array)


def stream_encoder(codec: Codec, sampling_rate: int, *, n_quantizers: int | None = None) -> StreamEncoder:
    """A coder of live audio of ``sampling_rate`` Hz.

    Args:
        n_quantizers: codebooks to use, 1..N; left out, all.
    """
    n = codec.choose_n_quantizers(1, n_quantizers, None)
    return StreamEncoder(codec, check_sampling_rate(sampling_rate), n)


def stream_decoder(codec: Codec, sampling_rate: int | None = None) -> StreamDecoder:
    """A decoder of live codes to audio of ``sampling_rate`` Hz; left out, the model's."""
    return StreamDecoder(codec, check_sampling_rate(sampling_rate or codec.sampling_rate))
