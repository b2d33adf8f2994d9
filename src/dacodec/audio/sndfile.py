"""Reading by libsndfile: plain FLAC, and formats that nothing else here knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soundfile

from dacodec.audio.findings import Findings, RatedBlock
from dacodec.audio.messages import reason
from dacodec.audio.source import Source

_BLOCK = 1 << 15  # samples per channel read at once
_UNKNOWN_FRAMES = 1 << 62  # beyond this, a length is no claim


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Read from front to back only.

    After each read, soundfile seeks to where it already is, which fails at the end of a FLAC file whose
    header does not give its length.
    """

    def seekable(self) -> bool:
        return False


class SndfileDecoder:
    """Decodes ``source``, which must be seekable, from position 0 on."""

    def __init__(self, source: Source, findings: Findings) -> None:
        descriptor = source.descriptor()
        source.seek(0)
        # Never by name, which would determine the format.
        self._sound = _ForwardFile(source if descriptor is None else descriptor)
        self._findings = findings
        self.sampling_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.is_finite = self._sound.subtype.startswith("PCM")
        frames: int = self._sound.frames
        self.n_samples = frames if frames < _UNKNOWN_FRAMES else None

    def blocks(self) -> Iterator[RatedBlock]:
        # Nothing is allocated according to the header's claims.
        length = 0
        while True:
            try:
                block = self._sound.read(_BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                self._damaged(f"it is damaged or cut off ({reason(error)})", length)
                return
            length += len(block)
            if len(block):
                yield self.sampling_rate, np.ascontiguousarray(block.T)
            if len(block) < _BLOCK:
                break
        if self.n_samples is not None and length < self.n_samples:
            self._damaged(
                f"its header claims {self.n_samples} samples, the file holds {length}: it was cut off", length
            )

    def _damaged(self, what: str, length: int) -> None:
        missing = None if self.n_samples is None else self.n_samples - length
        self._findings.damaged(what, length / self.sampling_rate, missing)

    def close(self) -> None:
        self._sound.close()
