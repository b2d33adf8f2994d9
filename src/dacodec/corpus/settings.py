"""The settings that the rows of a corpus depend on, and how to load the codec."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dacodec.audio import Damaged
from dacodec.errors import ConfigError

Channels = Literal["mono", "left-right", "mid-side"]


@dataclass(frozen=True)
class Settings:
    """
    Args:
        n_quantizers, bitrate_kbps: as for :meth:`dacodec.Codec.encode`.
        channels: ``"mono"``, all channels averaged to one; ``"left-right"``, each as it is; ``"mid-side"``, those of
            two channels as mid and side, others as they are.
        loudness_lufs: as for :meth:`dacodec.Codec.encode`.
        least_seconds, most_seconds: rows that are shorter or longer are left out.
        split_seconds: cut recordings into rows of at most this length; the codes are those of the whole recording.
        split_at_silence: cut at the quietest place in the second half of each row, not at its end.
        damaged: as for :func:`dacodec.audio.read`.

    Raises:
        ConfigError: for values that are unknown, out of range or contradictory.
    """

    n_quantizers: int | None = None
    bitrate_kbps: float | None = None
    channels: Channels = "mono"
    loudness_lufs: float | None = None
    least_seconds: float = 0.0
    most_seconds: float | None = None
    split_seconds: float | None = None
    split_at_silence: bool = False
    damaged: Damaged = "error"

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise ConfigError(f"channels are {', '.join(get_args(Channels))}, not {self.channels!r}")
        if self.damaged not in get_args(Damaged):
            raise ConfigError(f"damaged is {' or '.join(get_args(Damaged))}, not {self.damaged!r}")
        if self.n_quantizers is not None and self.bitrate_kbps is not None:
            raise ConfigError("give n_quantizers or bitrate_kbps, not both")
        if self.split_at_silence and self.split_seconds is None:
            raise ConfigError("split_at_silence needs split_seconds, how long a row may be")
        most = math.inf if self.most_seconds is None else self.most_seconds
        if not 0 <= self.least_seconds < most:
            raise ConfigError(f"no row has at least {self.least_seconds} s and at most {self.most_seconds} s")
        if self.split_seconds is not None and not 0 < self.split_seconds < math.inf:
            raise ConfigError(f"rows cannot be {self.split_seconds} s long")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Loading:
    """How to load a codec."""

    source: str
    device: str = "cpu"
    engine: str = "auto"
    dtype: str = "float32"
    threads: int = 1
    chunk_seconds: float | None = None
