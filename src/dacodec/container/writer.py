"""Codes in any portions to a ``.dacz`` stream."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.container.format import MAX_FRAMES
from dacodec.container.header import Header, max_samples
from dacodec.container.packet import Packet, end_to_bytes, packet_to_bytes
from dacodec.container.stream import Writable, write_all
from dacodec.errors import CodesError, FormatError


class Writer:
    """Writes a header, packets, and on :meth:`close` the end mark, from front to back without seeking.

    As a context manager it closes itself, unless an exception passes: then there is no end mark, so that
    nobody takes what was written for the whole. ``file`` itself stays open. Not for several threads at once.

    Args:
        file: open for binary writing.
        header: what the file says about itself; ``n_samples`` None if it is known only at :meth:`close`.
    """

    def __init__(self, file: Writable, header: Header) -> None:
        self.header = header
        self._file = file
        self._closed = False
        self._n_written = 0  # frames
        self._pending = np.empty((header.channels, header.n_codebooks, 0), np.uint16)
        write_all(file, header.to_bytes())

    @property
    def n_frames(self) -> int:
        """Frames given so far, those of the packet being filled included."""
        return self._n_written + int(self._pending.shape[2])

    def write(self, codes: NDArray[Any]) -> None:
        """Add frames; every full packet is written at once.

        Args:
            codes: integers [C, K, F] below ``codebook_size``, F any number.

        Raises:
            CodesError: for another shape or dtype and for codes out of range; nothing was added then.
        """
        self._check_open()
        self._check_codes(codes)
        if self.n_frames + codes.shape[2] > MAX_FRAMES:
            raise FormatError(f"a file holds at most {MAX_FRAMES} frames")
        size = self.header.packet_frames
        codes = np.concatenate([self._pending, codes.astype(np.uint16)], axis=2)
        n_full = codes.shape[2] // size * size
        for start in range(0, n_full, size):
            self._write_packet(codes[:, :, start : start + size])
        self._pending = codes[:, :, n_full:].copy()  # not a view that would keep all of codes alive

    def flush(self) -> None:
        """Write what is pending as a short packet, and flush ``file`` if it can be: for live streams."""
        self._check_open()
        if self._pending.shape[2]:
            self._write_packet(self._pending)
            self._pending = self._pending[:, :, :0]
        if flush := getattr(self._file, "flush", None):
            flush()

    def close(self, n_samples: int | None = None) -> None:
        """Write what is pending and the end mark. Does nothing on a closed writer.

        Args:
            n_samples: samples per channel; needed where the header does not know it.

        Raises:
            FormatError: if it is known nowhere, contradicts the header, or cannot fit the frames.
        """
        if self._closed:
            return
        n_samples = self._n_samples(n_samples)
        self.flush()
        write_all(self._file, end_to_bytes(self._n_written, n_samples))
        self._closed = True
        if flush := getattr(self._file, "flush", None):
            flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _n_samples(self, given: int | None) -> int:
        known = self.header.n_samples
        if known is None and given is None:
            raise FormatError("the header does not say n_samples, so close(n_samples=...) must")
        if known is not None and given is not None and known != given:
            raise FormatError(f"n_samples is {given}, but the header says {known}")
        n_samples = given if known is None else known
        assert n_samples is not None
        most = max_samples(self.header, self.n_frames)
        if not 0 <= n_samples <= most:
            raise FormatError(f"{n_samples} samples, but {self.n_frames} frames stand for 0..{most}")
        return n_samples

    def _write_packet(self, codes: NDArray[np.uint16]) -> None:
        packet = Packet(self._n_written, codes)
        write_all(self._file, packet_to_bytes(self.header, packet))
        self._n_written += packet.n_frames

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the writer is closed")

    def _check_codes(self, codes: NDArray[Any]) -> None:
        expected = (self.header.channels, self.header.n_codebooks)
        if codes.ndim != 3 or codes.shape[:2] != expected:
            raise CodesError(
                f"codes have shape {codes.shape}; expected [channels, codebooks, frames] = "
                f"[{expected[0]}, {expected[1]}, any]"
            )
        if codes.dtype.kind not in "iu":
            raise CodesError(f"codes must be integers, got {codes.dtype}")
        wrong = (codes < 0) | (codes >= self.header.codebook_size)
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise CodesError(
                f"code {codes[where]} at [channel, codebook, frame] = {list(where)} is not in "
                f"0..{self.header.codebook_size - 1}"
            )
