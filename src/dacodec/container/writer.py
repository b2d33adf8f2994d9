"""Codes, in blocks of any size, to a ``.dacz`` stream."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.container.blocks import End, PacketBlock, end_to_bytes, index_to_bytes, packet_to_bytes
from dacodec.container.format import MAX_FRAMES
from dacodec.container.header import Header, max_samples
from dacodec.container.index import IndexBuilder
from dacodec.container.packet import Packet, encode_packets, packets_together
from dacodec.container.prior import Prior
from dacodec.container.reader import prior_of_file
from dacodec.container.stream import Writable, write_all
from dacodec.errors import CodesError, FormatError, PriorError


class PacketWriter:
    """Writes a header, packets in segments, and on :meth:`close` index and end mark.

    Args:
        file: open for binary writing; never sought in, and left open.
        header: what the file says about itself.
    """

    def __init__(self, file: Writable, header: Header) -> None:
        self.header = header
        self.n_frames = 0  # written
        self._file = file
        self._offset = 0
        self._index = IndexBuilder(header)
        self._write(header.to_bytes())

    def write(self, packet: PacketBlock) -> None:
        """Write a packet, which must be the next."""
        assert packet.first_frame == self.n_frames
        self._index.add(packet.first_frame, self._offset)
        self._write(packet_to_bytes(self.header, packet))
        self.n_frames += packet.n_frames

    def close(self, n_samples: int, *, index: bool) -> None:
        """Write the index, if wanted and there are packets, and the end mark."""
        wants_index = index and self.n_frames > 0
        index_block = index_to_bytes(self.n_frames, self._index.entries) if wants_index else b""
        self._write(index_block + end_to_bytes(self.n_frames, End(n_samples, len(index_block))))
        self.flush()

    def flush(self) -> None:
        """Flush the file, if it has ``flush``."""
        if flush := getattr(self._file, "flush", None):
            flush()

    def _write(self, data: bytes) -> None:
        write_all(self._file, data)
        self._offset += len(data)


class Writer:
    """Writes a header, packets, and on :meth:`close` the end mark, from front to back without seeking.

    As a context manager it closes itself, except after an exception: then it writes no end mark, so that the
    partial file is not taken for the whole. ``file`` itself stays open. Not thread-safe.

    Args:
        file: open for binary writing.
        header: what the file says about itself; ``n_samples`` None if it is known only at :meth:`close`. Packets
            are entropy-coded if it has a ``prior_id``.
        prior: that prior; by default one that comes with the package.
        index: write an index, so that readers can seek at once.

    Raises:
        PriorError: if the header names a prior that is neither given nor in the package, or does not fit.
    """

    def __init__(
        self, file: Writable, header: Header, *, prior: Prior | None = None, index: bool = False
    ) -> None:
        self.header = header
        self._prior = prior_of_file(header, prior)
        if header.prior_id is not None and self._prior is None:
            raise PriorError(
                f"the prior {header.prior_id.hex()[:16]} is not here; give it, or a header without prior_id"
            )
        if self._prior is not None and self._prior.width != (header.codebook_size - 1).bit_length():
            raise PriorError("this prior is for codes of another size; give the model's own")
        self._closed = False
        self._pending = np.empty((header.channels, header.n_codebooks, 0), np.uint16)
        self._index = index
        self._out = PacketWriter(file, header)

    @property
    def n_frames(self) -> int:
        """Frames given so far, including those not written yet."""
        return self._out.n_frames + int(self._pending.shape[2])

    def write(self, codes: NDArray[Any]) -> None:
        """Add frames; every full packet is written at once.

        Args:
            codes: integers [C, K, F] below ``codebook_size``, F any number.

        Raises:
            CodesError: for a wrong shape or dtype, or codes out of range; nothing is added then.
            FormatError: beyond the most frames a file can hold.
        """
        self._check_open()
        self._check_codes(codes)
        if self.n_frames + codes.shape[2] > MAX_FRAMES:
            raise FormatError(f"a file holds at most {MAX_FRAMES} frames")
        size = self.header.packet_frames
        codes = np.concatenate([self._pending, codes.astype(np.uint16)], axis=2)
        n_full = codes.shape[2] // size * size
        self._write_packets(codes[:, :, :n_full])
        self._pending = codes[:, :, n_full:].copy()  # not a view, which would keep all of codes alive

    def flush(self) -> None:
        """Write the pending frames as a short packet and flush ``file``: for live streams."""
        self._check_open()
        self._write_packets(self._pending)
        self._pending = self._pending[:, :, :0]
        self._out.flush()

    def close(self, n_samples: int | None = None) -> None:
        """Write the pending frames and the end mark. Does nothing on a closed writer.

        Args:
            n_samples: samples per channel; required if the header does not say.

        Raises:
            FormatError: if ``n_samples`` is missing, contradicts the header, or does not fit the frames.
        """
        if self._closed:
            return
        n_samples = self._n_samples(n_samples)
        self.flush()
        self._out.close(n_samples, index=self._index)
        self._closed = True

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

    def _write_packets(self, codes: NDArray[np.uint16]) -> None:
        """Write frames [C, K, F] in the longest packets allowed; those of equal length are coded together."""
        size = self.header.packet_frames
        n_together = packets_together(self.header) * size
        for start in range(0, codes.shape[2], n_together):
            packets = [
                Packet(self._out.n_frames + at - start, codes[:, :, at : at + size])
                for at in range(start, min(start + n_together, codes.shape[2]), size)
            ]
            for block in encode_packets(self.header, packets, self._prior):
                self._out.write(block)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the writer is closed")

    def _check_codes(self, codes: NDArray[Any]) -> None:
        expected = (self.header.channels, self.header.n_codebooks)
        if codes.ndim != 3 or codes.shape[:2] != expected:
            raise CodesError(
                f"codes have shape {codes.shape}; expected [channels, codebooks, frames] = "
                f"[{expected[0]}, {expected[1]}, any]"
                + (
                    "; give the transpose, codes.swapaxes(1, 2)"
                    if codes.ndim == 3 and codes.shape[::2] == expected
                    else ""
                )
            )
        if codes.dtype.kind not in "iu":
            raise CodesError(
                f"codes must be integers, got {codes.dtype}; convert them, as in codes.astype(int)"
            )
        wrong = (codes < 0) | (codes >= self.header.codebook_size)
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise CodesError(
                f"code {codes[where]} at [channel, codebook, frame] = {list(where)} is not in "
                f"0..{self.header.codebook_size - 1}"
            )
