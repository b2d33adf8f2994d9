"""Lost frames made bearable: the frame before is repeated, and fades.

The decoder hears one unbroken line of codes, so that nothing clicks where frames are missing; what repeats for longer
than a few frames would hum, so it is faded out, and what comes after fades in. Behind the decoder's receptive
field all is exact again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dacodec.audio import Samples
from dacodec.container import Packet

FADE_FRAMES = 4  # missing one after the other until there is silence


def repeat_missing(
    codes: NDArray[np.uint16], missing: NDArray[np.bool_], last: NDArray[np.uint16] | None
) -> NDArray[np.uint16]:
    """``codes`` [C, K, F] with every missing frame replaced by the one before, ``last`` [C, K, 1] before all."""
    if not missing.any():
        return codes
    before = np.zeros_like(codes[:, :, :1]) if last is None else last
    line = np.concatenate([before, codes], axis=2)
    there = np.concatenate([[True], ~missing])
    source = np.maximum.accumulate(np.where(there, np.arange(len(there)), 0))
    return line[:, :, source[1:]]


@dataclass(frozen=True)
class Envelope:
    """The gain of every frame whose audio is still to come: a value that goes along with a decoder's state."""

    position: int = 0  # samples at the model's rate that went through
    # From the frame before the one at ``position`` on; a frame's gain goes from that of the one before to its own.
    gains: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))

    def add(self, missing: NDArray[np.bool_]) -> Envelope:
        """With the next frames, some of them ``missing`` [F]."""
        gains = [float(self.gains[-1])]
        for lost in missing:
            gains.append(max(0.0, gains[-1] - 1 / FADE_FRAMES) if lost else 1.0)
        return Envelope(self.position, np.concatenate([self.gains, np.array(gains[1:], np.float32)]))

    def apply(self, audio: Samples, hop_length: int) -> tuple[Samples, Envelope]:
        """``audio`` [C, T], the next samples at the model's rate, with their gains."""
        begin = self.position % hop_length
        n_passed = (begin + audio.shape[1]) // hop_length
        after = Envelope(self.position + audio.shape[1], self.gains[n_passed:])
        if self.gains[: n_passed + 2].min(initial=1) < 1:
            place = np.arange(begin, begin + audio.shape[1]) / hop_length
            audio = audio * np.interp(place, np.arange(len(self.gains)), self.gains).astype(np.float32)
        return audio, after


def concealed(
    packets: Iterable[Packet],
    decode: Callable[[Iterable[NDArray[np.uint16]]], Iterable[Samples]],
    hop_length: int,
) -> Iterator[Samples]:
    """What ``decode`` makes of the codes of ``packets``, at the model's rate, with lost ones faded."""
    envelope = Envelope()

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
