"""Concealment of lost frames: the frame before is repeated, low-passed, and faded out.

The decoder gets an unbroken sequence of codes, so that nothing clicks where frames are missing. A frame
repeated for long would hum, so it is faded out within a few frames, and the audio after the loss fades in.
Beyond the decoder's receptive field the audio is exact again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import comb

import numpy as np
from numpy.typing import NDArray

from dacodec.audio import Samples
from dacodec.container import Packet

FADE_FRAMES = 4  # consecutive lost frames until silence
# A binomial low-pass filter: half the amplitude at an eighth of the sampling rate. It removes the treble that
# a decoder invents where codes repeat: in noise, a quarter of the lost frames would crackle without it.
_SOFT = np.array([comb(8, i) for i in range(9)], np.float32) / 2**8


def repeat_missing(
    codes: NDArray[np.uint16], missing: NDArray[np.bool_], last: NDArray[np.uint16] | None
) -> NDArray[np.uint16]:
    """``codes`` [C, K, F] with each ``missing`` frame [F] replaced by the one before, at first by ``last``."""
    if not missing.any():
        return codes
    before = np.zeros_like(codes[:, :, :1]) if last is None else last
    line = np.concatenate([before, codes], axis=2)
    there = np.concatenate([[True], ~missing])
    source = np.maximum.accumulate(np.where(there, np.arange(len(there)), 0))
    return line[:, :, source[1:]]


@dataclass(frozen=True)
class Envelope:
    """Gain and low-pass filtering around lost frames: a value that travels with a decoder's state.

    Both change from frame to frame; at the boundary of two frames the worse one counts. So they set in during
    the frame before a loss, because the effect of a sudden repetition reaches back that far.

    Args:
        sees_ahead: a frame's audio always comes after the next frame's codes. If not, the changes can only
            begin with the loss.
    """

    sees_ahead: bool
    position: int = 0  # samples processed, at the model's rate
    # One per frame, starting with the frame before the one at ``position``.
    gains: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))
    past: Samples = field(default_factory=lambda: np.zeros((1, len(_SOFT) - 1), np.float32))  # [C, n]

    def add(self, missing: NDArray[np.bool_]) -> Envelope:
        """The envelope extended by the next frames, some of them ``missing`` [F]."""
        gains = [float(self.gains[-1])]
        for lost in missing:
            gains.append(max(0.0, gains[-1] - 1 / FADE_FRAMES) if lost else 1.0)
        return replace(self, gains=np.concatenate([self.gains, np.array(gains[1:], np.float32)]))

    def apply(self, audio: Samples, hop_length: int) -> tuple[Samples, Envelope]:
        """Apply it to the next ``audio`` [C, T] at the model's rate; also gives the envelope after that."""
        begin = self.position % hop_length
        n_passed = (begin + audio.shape[1]) // hop_length
        line = np.concatenate([np.broadcast_to(self.past, (len(audio), self.past.shape[1])), audio], axis=1)
        after = replace(
            self,
            position=self.position + audio.shape[1],
            gains=self.gains[n_passed:],
            past=line[:, line.shape[1] - self.past.shape[1] :],
        )
        if audio.shape[1] and self.gains[: n_passed + 3].min() < 1:
            frames = np.arange(begin, begin + audio.shape[1]) / hop_length
            boundaries = self.gains
            if self.sees_ahead:
                boundaries = np.minimum(self.gains, np.append(self.gains[1:], 1))
            gain, soft = (
                np.interp(frames, np.arange(len(boundaries)), values).astype(np.float32)
                for values in (boundaries, boundaries < 1)
            )
            audio = gain * ((1 - soft) * audio + soft * _softened(line))
        return audio, after


def _softened(line: Samples) -> Samples:
    return np.stack([np.convolve(channel, _SOFT, "valid") for channel in line])


def concealed(
    packets: Iterable[Packet],
    decode: Callable[[Iterable[NDArray[np.uint16]]], Iterable[Samples]],
    hop_length: int,
) -> Iterator[Samples]:
    """The audio that ``decode`` makes of ``packets``, at the model's rate, with lost packets concealed."""
    envelope = Envelope(sees_ahead=True)

    def codes() -> Iterator[NDArray[np.uint16]]:
        nonlocal envelope
        last = None
        for packet in packets:
            lost = np.full(packet.n_frames, packet.is_lost)
            envelope = envelope.add(lost)
            frames = repeat_missing(packet.codes, lost, last)
            last = frames[:, :, -1:]
            yield frames

    for block in decode(codes()):
        audio, envelope = envelope.apply(block, hop_length)
        yield audio
