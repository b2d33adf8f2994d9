"""The bytes of a recording: looked at, then read on, from a file or a pipe."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

from dacodec.audio.messages import File

_SKIPPED_AT_ONCE = 1 << 20


class Source:
    """A file from where it stands. What cannot seek can be gone back in until :meth:`release`.

    It is a file object itself, as far as FFmpeg and libsndfile need one; position 0 is where it began.

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
        )  # what is there: a live source is not held up
        self._ahead = b""  # looked at, but not read yet
        self._kept: bytearray | None = (
            None if self._seekable else bytearray()
        )  # read, but wanted again perhaps
        self._position = 0

    @property
    def size(self) -> int | None:
        """Bytes from position 0 on; None where only the end will tell."""
        return None if self._size is None else max(0, self._size - self._origin)

    def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes, as many as there are at once; none at the end."""
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
        """The next ``n`` bytes, fewer only at the end; they are still to be read."""
        while len(self._ahead) < n:
            more = self._file.read(n - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead[:n]

    def skip(self, n: int) -> None:
        """Past ``n`` bytes, or to the end; past none if ``n`` is negative, as damaged headers have it."""
        n = max(0, n)
        if self._seekable:
            self.seek(n, io.SEEK_CUR)
            return
        while n > 0 and (data := self.read(min(n, _SKIPPED_AT_ONCE))):
            n -= len(data)

    def begin(self) -> None:
        """Position 0 is here from now on."""
        self._origin += self._position
        self._position = 0
        if self._kept is not None:
            self._kept.clear()

    def release(self) -> None:
        """From now on nothing that was read is wanted again."""
        self._kept = None

    def rewind(self) -> None:
        """Back to position 0. What cannot seek must not be released."""
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
        """The open file for a library to read by itself, from 0 on; None where there is none."""
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
    """What FFmpeg can be given."""

    def read(self, n: int) -> bytes: ...

    def seekable(self) -> bool: ...


class Forward:
    """What FFmpeg may only read from front to back."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, n: int) -> bytes:
        return self._source.read(n)

    def seekable(self) -> bool:
        return False
