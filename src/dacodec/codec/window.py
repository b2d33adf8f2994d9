"""Which frames a part of a recording is decoded from."""

from __future__ import annotations

from typing import NamedTuple

from dacodec.audio import Resampler, resampled_length
from dacodec.codec.coder import Coder


class Window(NamedTuple):
    """The steps from frames to samples ``start`` to ``stop``, bit for bit as in the whole recording.

    Frames ``first_frame`` to ``last_frame`` are decoded. Of that audio, samples ``skip`` to ``skip + length`` at the
    model's rate go to the resampler, whose first output is the recording's sample ``first_output``.
    """

    first_frame: int
    last_frame: int
    skip: int
    length: int
    first_output: int
    start: int
    stop: int


def window_of(coder: Coder, sampling_rate: int, n_samples: int, start: int, stop: int) -> Window:
    """The window of samples ``start`` to ``stop`` of ``n_samples``, all at ``sampling_rate`` Hz."""
    model, halo = coder.model, coder.geometry.decoder_halo
    resampler = Resampler(model.sampling_rate, sampling_rate)
    first = max(0, resampler.first_input(start))  # sample at the model's rate
    last = resampled_length(stop, sampling_rate, model.sampling_rate) + resampler.reach
    last = min(last, resampled_length(n_samples, sampling_rate, model.sampling_rate))
    first_frame = max(0, first // model.hop_length - halo)
    return Window(
        first_frame,
        last_frame=-(-last // model.hop_length) + halo,
        skip=first - first_frame * model.hop_length,
        length=last - first,
        first_output=start if first else 0,
        start=start,
        stop=stop,
    )
