"""Every error that dacodec raises on purpose. All derive from :class:`DacodecError`.

Messages name what was given, what was expected, and what to do about it; the command line prints
them as one line.
"""

from __future__ import annotations

import unicodedata


class DacodecError(Exception):
    """Base of all errors that dacodec raises on purpose."""


class ConfigError(DacodecError, ValueError):
    """A model configuration that no DAC model can have."""


class AudioError(DacodecError, ValueError):
    """Audio that cannot be read, written or coded: wrong shape, rate, NaN, a damaged file."""


class AudioWarning(UserWarning):
    """Audio that was read, and about which something must be known: damage, a header that is wrong."""


class CodesError(DacodecError, ValueError):
    """Codes from outside that a model cannot decode: out of range, wrong rank or dtype."""


class RowError(CodesError):
    """A row of a language model's ids that does not fit its layout. ``row`` is which, from 0."""

    def __init__(self, message: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(message if row is None else f"{message} (at row {row})")


class CheckpointError(DacodecError):
    """Weights that cannot be found, read, or do not fit the model they are meant for."""


class ModelMismatchError(DacodecError):
    """Codes that were made by a model other than the one asked to decode them."""


class FormatError(DacodecError, ValueError):
    """A compressed file that breaks the format. ``offset`` is the byte where it does."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        self.offset = offset
        super().__init__(message if offset is None else f"{message} (at byte {offset})")


class PriorError(DacodecError):
    """Entropy-coded codes whose prior is not at hand, or a prior that is damaged."""


class InputError(DacodecError):
    """An input that is not there or cannot be read."""


class OutputError(DacodecError):
    """An output that exists already or cannot be written."""


class EngineError(DacodecError):
    """An engine that is unknown or cannot run here."""


class InstallationError(DacodecError, ImportError):
    """An installation that dacodec cannot work in, such as a zip file."""


class TrainingError(DacodecError):
    """A training run that cannot go on: a loss that is not a number, a checkpoint of another run."""


def shown(text: object) -> str:
    """``text`` in one line that does nothing to a terminal: what is not to be seen is escaped, as in ``\\x1b``.

    For whatever has a name in it that comes from outside: of a file, or of something in a file.
    """
    return "".join(map(_seen, str(text)))


def _seen(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
