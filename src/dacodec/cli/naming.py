"""Errors that name the file they are about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dacodec.errors import AudioError, DacodecError, FormatError, ModelMismatchError, PriorError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def naming_its_input(command: _Command) -> _Command:
    """``command``, whose errors name its input if there is only one; of several, it names them itself."""

    @functools.wraps(command)
    def run(*args: Any, **arguments: Any) -> Any:
        try:
            return command(*args, **arguments)
        except (AudioError, FormatError, ModelMismatchError, PriorError) as error:
            inputs = arguments.get("inputs") or [arguments.get("input")]
            if len(inputs) == 1 and inputs[0] is not None:
                _name(error, str(inputs[0]))
            raise

    return run  # type: ignore[return-value]


def _name(error: DacodecError, path: str) -> None:
    message = str(error)
    if path != "-" and path not in message:
        message = f"{path}: {message}"
    if isinstance(error, AudioError) and _is_dacz(Path(path)):
        message += "; it is a .dacz file, which `dacodec decode` turns into audio"
    error.args = (message,)


def _is_dacz(path: Path) -> bool:
    from dacodec.container.format import MAGIC

    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
