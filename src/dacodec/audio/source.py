"""The bytes of a recording, from a file or a pipe: inspected first, then read."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

from dacodec.audio.messages import File

_SKIPPED_AT_ONCE = 1 << 20


class Source:
    """A file from its current position on. An unseekable one can be rewound until :meth:`release`.

    It is itself a file object, as far as FFmpeg and libsndfile need one; position 0 is where it began.

    Args:
        file: path, or a binary file object, which stays open.
    """

    def __init__(self, file: File) -> None:
        self._owned = isinstance(file, (str, os.PathLike))
        self._file = Path(file).open("rb") if isinstance(file, (str, os.PathLike)) else file  # noqa: SIM115
        self._seekable = self._file.seekable()
        self._origin = self._file.tell() if self._seekable else 0
        self._size = self._file.seek(0, io.SEEK_END) if self._seekable else None
        if self._seekable:
            self._file.seek(self._origin)
        self._take = getattr(
            self._file, "read1", self._file.read
        )  # returns what is available: a live source is not delayed
        self._ahead = b""  # peeked at, but not read yet
        self._kept: bytearray | None = (
            None if self._seekable else bytearray()
        )  # read, but possibly needed again
        self._position = 0

    @property
    def size(self) -> int | None:
        """Bytes from position 0 on; None if known only at the end."""
        return None if self._size is None else max(0, self._size - self._origin)

    def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes, as many as are available; none at the end."""
        if n < 0:
            return b"".join(iter(lambda: self.read(_SKIPPED_AT_ONCE), b""))
        if self._ahead:
            data, self._ahead = self._ahead[:n], self._ahead[n:]
        else:
            data = self._take(n)
        if self._kept is not None:
            self._kept += data
        self._position += len(data)
        return data

    def take(self, n: int) -> bytes:
        """``n`` bytes, fewer only at the end."""
        data = self.read(n)
        if len(data) == n:
            return data
        parts = [data]
        left = n - len(data)
        while left and parts[-1]:
            parts.append(self.read(left))
            left -= len(parts[-1])
        return b"".join(parts)

    def peek(self, n: int) -> bytes:
        """The next ``n`` bytes, fewer only at the end, without reading past them."""
        while len(self._ahead) < n:
            more = self._file.read(n - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:n]

    def skip(self, n: int) -> None:
        """Skip ``n`` bytes, or to the end; none if ``n`` is negative, as in damaged headers."""
        n = max(0, n)
        if self._seekable:
            self.seek(n, io.SEEK_CUR)
            return
        while n > 0 and (data := self.read(min(n, _SKIPPED_AT_ONCE))):
            n -= len(data)

    def begin(self) -> None:
        """Make this position 0."""
        self._origin += self._position
        self._position = 0
        if self._kept is not None:
            self._kept.clear()

    def release(self) -> None:
        """Forget what was read: no more rewinding."""
        self._kept = None

    def rewind(self) -> None:
        """Back to position 0. An unseekable source must not have been released."""
        if self._seekable:
            self.seek(0)
            return
        assert self._kept is not None
        self._ahead = bytes(self._kept) + self._ahead
        self._kept.clear()
        self._position = 0

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            assert self.size is not None
            offset += self.size
        self._ahead = b""
        self._position = min(max(0, offset), self.size or 0)
        self._file.seek(self._origin + self._position)
        return self._position

    def tell(self) -> int:
        return self._position

    def descriptor(self) -> int | None:
        """The open file, for a library to read by itself from 0 on; None if there is none."""
        if self._origin or os.name != "posix":
            return None
        with contextlib.suppress(OSError, AttributeError):
            descriptor = os.dup(self._file.fileno())
            os.lseek(descriptor, 0, os.SEEK_SET)
            return descriptor
        return None

    def close(self) -> None:
        if self._owned:
            self._file.close()


class Readable(Protocol):
    """What FFmpeg can read from."""

    def read(self, n: int) -> bytes: ...

    def seekable(self) -> bool: ...


class Forward:
    """A file that FFmpeg may only read from front to back."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, n: int) -> bytes:
        return self._source.read(n)

    def seekable(self) -> bool:
        return False
