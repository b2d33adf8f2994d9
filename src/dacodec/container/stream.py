"""Complete reads and writes over anything that has ``read`` or ``write``: files, pipes, sockets' files."""

from __future__ import annotations

from typing import Protocol

from dacodec.errors import FormatError

SEARCH_BYTES = 2**16  # read at once in a search


class Readable(Protocol):
    """What a :class:`~dacodec.container.Reader` needs of a blocking binary file."""

    def read(self, n: int, /) -> bytes: ...


class Writable(Protocol):
    """What a :class:`~dacodec.container.Writer` needs of a blocking binary file."""

    def write(self, data: bytes, /) -> int | None: ...


class Source:
    """Reads from ``file`` and keeps count: the next byte is the one at ``offset``.

    Bytes taken after :meth:`hold` can be given back.
    """

    def __init__(self, file: Readable, offset: int = 0) -> None:
        self._file = file
        self.offset = offset
        self._given_back = b""  # to be read before the rest of the file
        self._held: bytearray | None = None

    def take(self, n: int, what: str) -> bytes:
        """The next ``n`` bytes, part of ``what``; FormatError if the file ends before them."""
        data = self.take_up_to(n)
        if len(data) < n:
            missing = n - len(data)
            raise FormatError(f"the file is truncated: {missing} more bytes of {what} expected", self.offset)
        return data

    def take_up_to(self, n: int) -> bytes:
        """The next ``n`` bytes, or those left; short reads of a pipe are joined."""
        parts = [self._given_back[:n]]
        self._given_back = self._given_back[n:]
        missing = n - len(parts[0])
        while missing and (part := self._file.read(missing)):
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self.offset += len(data)
        if self._held is not None:
            self._held += data
        return data

    def hold(self) -> None:
        """Keep the bytes taken from now on, until the next call."""
        self._held = bytearray()

    def give_back(self, skip: int = 0) -> None:
        """Return to where :meth:`hold` was called, plus ``skip`` bytes."""
        assert self._held is not None
        again = bytes(self._held[skip:])
        self._given_back = again + self._given_back
        self.offset -= len(again)
        self._held = None

    def find(self, pattern: bytes) -> bool:
        """Skip to the next ``pattern``; if there is none, skip everything and return False."""
        self._held = None
        while (position := self._given_back.find(pattern)) < 0:
            keep = len(pattern) - 1  # the pattern may have begun
            self._pass_over(max(0, len(self._given_back) - keep))
            if not (more := self._file.read(SEARCH_BYTES)):
                self._pass_over(len(self._given_back))
                return False
            self._given_back += more
        self._pass_over(position)
        return True

    def _pass_over(self, n: int) -> None:
        self._given_back = self._given_back[n:]
        self.offset += n


def write_all(file: Writable, data: bytes) -> None:
    """Write all of ``data``; an unbuffered pipe may take only part of it at a time."""
    rest = memoryview(data)
    while rest:
        written = file.write(bytes(rest))
        rest = rest[len(rest) if written is None else written :]
