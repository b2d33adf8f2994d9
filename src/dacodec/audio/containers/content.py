"""What the header of a file of plain samples says."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["integer", "unsigned", "float", "ulaw", "alaw"]


class SampleType(NamedTuple):
    """How a sample is stored; an integer that does not fill its bytes is in the upper bits."""

    kind: Kind
    n_bytes: int
    big_endian: bool = False


class Content(NamedTuple):
    """What a file holds, and where.

    Args:
        container: such as ``"WAV"``.
        sample: None if the audio is coded.
        coding: a name of the coding, for messages.
        start: position of the audio, in bytes.
        claim: bytes of audio that the header claims; None if it does not say.
        is_firm: whether less than the claim is damage, and more deserves a warning.
        pads: whether chunks begin at even positions; None if no chunks follow.
        big_endian: byte order of the container itself.
    """

    container: str
    sampling_rate: int
    channels: int
    sample: SampleType | None
    coding: str
    start: int
    claim: int | None
    is_firm: bool = True
    pads: bool | None = True
    big_endian: bool = False

    @property
    def frame_bytes(self) -> int:
        assert self.sample is not None
        return self.sample.n_bytes * self.channels
