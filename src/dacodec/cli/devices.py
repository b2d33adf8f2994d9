"""Microphone and speaker, through the optional package sounddevice."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dacodec.errors import InputError, OutputError

if TYPE_CHECKING:
    from dacodec.audio import Samples

_BLOCK_SECONDS = 0.01


def microphone(sampling_rate: int, channels: int, ended: threading.Event) -> Iterator[Samples]:
    """Blocks [C, n] as they are recorded, until ``ended`` is set. Reports once if samples were lost.

    Raises:
        InputError: without sounddevice, PortAudio or a microphone.
    """
    device = _sounddevice("record", InputError)
    told = False
    try:
        with device.InputStream(samplerate=sampling_rate, channels=channels, dtype="float32") as stream:
            while not ended.is_set():
                block, overflowed = stream.read(max(1, round(_BLOCK_SECONDS * sampling_rate)))
                if overflowed and not told:
                    print("dacodec: too slow for the microphone, some samples were lost", file=sys.stderr)
                    told = True
                yield block.T.copy()
    except device.PortAudioError as error:
        raise InputError(f"cannot record: {error}") from None


class Speaker:
    """Plays what is written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, samples: Samples) -> None:
        """The next samples [C, n]."""
        if samples.shape[1]:
            self._stream.write(samples.T.copy())


@contextmanager
def speaker(sampling_rate: int, channels: int) -> Iterator[Speaker]:
    """A speaker; at the end, everything written is played out.

    Raises:
        OutputError: without sounddevice, PortAudio or a speaker.
    """
    device = _sounddevice("play", OutputError)
    try:
        with device.OutputStream(samplerate=sampling_rate, channels=channels, dtype="float32") as stream:
            yield Speaker(stream)
    except device.PortAudioError as error:
        raise OutputError(f"cannot play: {error}") from None


def _sounddevice(what: str, failure: type[Exception]) -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise failure(
            f"cannot {what}: {error}; pip install dacodec[play], on Linux PortAudio too (on Debian libportaudio2), "
            "or use files"
        ) from None
    return sounddevice
