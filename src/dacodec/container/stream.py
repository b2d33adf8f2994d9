"""Whole reads and whole writes over anything that has ``read`` or ``write``: files, pipes, sockets' files."""

from __future__ import annotations

from typing import Protocol

from dacodec.errors import FormatError


class Readable(Protocol):
    """A blocking binary file, as far as a :class:`~dacodec.container.Reader` needs one."""

    def read(self, n: int, /) -> bytes: ...


class Writable(Protocol):
    """A blocking binary file, as far as a :class:`~dacodec.container.Writer` needs one."""

    def write(self, data: bytes, /) -> int | None: ...


class Source:
    """Reads from ``file`` and counts: ``offset`` bytes were taken since the start."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.offset = 0

    def take(self, n: int, what: str) -> bytes:
        """The next ``n`` bytes; FormatError where the file ends before them."""
        data = self.take_up_to(n)
        if len(data) < n:
            missing = n - len(data)
            raise FormatError(f"the file is truncated: {missing} more bytes of {what} expected", self.offset)
        return data

    def take_up_to(self, n: int) -> bytes:
        """The next ``n`` bytes, or those left; a pipe's short reads are put together."""
        parts = []
        missing = n
        while missing and (part := self._file.read(missing)):
            parts.append(part)
            missing -= len(part)
            self.offset += len(part)
        return b"".join(parts)


def write_all(file: Writable, data: bytes) -> None:
    """Write ``data``; an unbuffered pipe may take it in several bites."""
    rest = memoryview(data)
    while rest:
        written = file.write(bytes(rest))
        rest = rest[len(rest) if written is None else written :]
