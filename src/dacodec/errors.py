"""Every error that dacodec raises on purpose. All derive from :class:`DacodecError`.

Messages name what was given, what was expected, and what to do about it; the command line prints
them as one line.
"""

from __future__ import annotations

import unicodedata


class DacodecError(Exception):
    """Base of all errors that dacodec raises on purpose."""


class ConfigError(DacodecError, ValueError):
    """An invalid model configuration or setting."""


class AudioError(DacodecError, ValueError):
    """Audio that cannot be read, written or coded: wrong shape, rate, NaN, a damaged file."""


class AudioWarning(UserWarning):
    """Something to know about audio that was read: damage, a wrong header."""


class CodesError(DacodecError, ValueError):
    """Codes from outside that a model cannot decode: out of range, wrong rank or dtype."""


class RowError(CodesError):
    """A row of a language model's ids that does not fit its layout. ``row`` is its number, from 0."""

    def __init__(self, message: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(message if row is None else f"{message} (at row {row})")


class CheckpointError(DacodecError):
    """Weights that cannot be found or read, or do not fit their model."""


class ModelMismatchError(DacodecError):
    """Codes made by a model other than the one asked to decode them."""


class FormatError(DacodecError, ValueError):
    """A compressed file that breaks the format. ``offset`` is the byte where it does."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        self.offset = offset
        super().__init__(message if offset is None else f"{message} (at byte {offset})")


class PriorError(DacodecError):
    """Entropy-coded codes whose prior is not available, or a damaged prior."""


class InputError(DacodecError):
    """An input that does not exist or cannot be read."""


class OutputError(DacodecError):
    """An output that exists already or cannot be written."""


class EngineError(DacodecError):
    """An engine that is unknown or cannot run here."""


class InstallationError(DacodecError, ImportError):
    """An installation that dacodec cannot work in, such as a zip file."""


class TrainingError(DacodecError):
    """A training run that cannot continue: a loss that is NaN, a checkpoint of another run."""


def shown(text: object) -> str:
    """``text`` on one line, with characters that could affect a terminal escaped, as in ``\\x1b``.

    For any message with a name from outside in it: of a file, or of something in a file.
    """
    return "".join(map(_seen, str(text)))


def _seen(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
