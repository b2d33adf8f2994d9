"""A lower bitrate by dropping codebooks from a file, without its model or prior."""

from __future__ import annotations

from dataclasses import replace

from dacodec.container.sequence import PacketSequence
from dacodec.container.stream import Readable, Writable
from dacodec.container.writer import PacketWriter
from dacodec.errors import CodesError


def peel(file: Readable, output: Writable, n_codebooks: int) -> None:
    """Copy a ``.dacz`` stream, keeping only its lowest ``n_codebooks`` codebooks.

    The result is byte for byte what encoding with ``n_codebooks`` would have written.

    Raises:
        CodesError: if the file has fewer codebooks.
        FormatError: if the file breaks the format.
    """
    packets = PacketSequence(file)
    header = packets.header
    if not 1 <= n_codebooks <= header.n_codebooks:
        raise CodesError(f"the file has {header.n_codebooks} codebooks; give 1 to {header.n_codebooks}")
    writer = PacketWriter(output, replace(header, n_codebooks=n_codebooks))
    for packet in packets:
        writer.write(replace(packet, segments=packet.segments[:n_codebooks]))
    assert packets.n_samples is not None  # the end mark says
    writer.close(packets.n_samples, index=packets.has_index)
