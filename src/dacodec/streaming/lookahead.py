"""How far a coder looks ahead."""

from __future__ import annotations

from dacodec.errors import ConfigError


def lookahead_samples(sampling_rate: int, seconds: float | None, exact: int) -> int:
    """``seconds`` in samples; left out, the ``exact`` look-ahead, more than which is of no use.

    Raises:
        ConfigError: if it is negative.
    """
    if seconds is None:
        return exact
    if not seconds >= 0:
        raise ConfigError(f"a look-ahead of {seconds} s is negative")
    return min(exact, round(seconds * sampling_rate))
