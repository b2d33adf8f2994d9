"""What is told of a file of plain samples."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["integer", "unsigned", "float", "ulaw", "alaw"]


class SampleType(NamedTuple):
    """How a sample is stored; the upper bits count where an integer does not fill its bytes."""

    kind: Kind
    n_bytes: int
    big_endian: bool = False


class Content(NamedTuple):
    """What a file holds, and where.

    Args:
        container: as ``"WAV"``.
        sample: None where the audio is coded.
        coding: what it is, for people.
        start: position of the audio, in bytes.
        claim: bytes of it that the header promises; None for none.
        is_firm: whether less than the claim is damage, and more is worth a word.
        pads: whether chunks begin at even positions; None where no chunks follow.
        big_endian: the container's own order.
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
