"""Finds what is wrong with a file, and makes a valid file from what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

from dacodec.container.header import Header
from dacodec.container.prior import Prior
from dacodec.container.reader import Reader
from dacodec.container.sequence import Damage, PacketSequence
from dacodec.container.stream import Writable
from dacodec.container.writer import Writer
from dacodec.errors import FormatError, PriorError


@dataclass(frozen=True)
class Verdict:
    """What :func:`verify` found.

    Args:
        header: of the file.
        n_frames: in all, lost ones included.
        n_samples: per channel at ``header.sampling_rate``.
        damages: in the order of the file; empty for an intact file.
        codes_checked: whether the codes were checked too; False if their prior is not available.
    """

    header: Header
    n_frames: int
    n_samples: int
    damages: list[Damage]
    codes_checked: bool

    @property
    def lost_frames(self) -> int:
        return sum(damage.n_frames for damage in self.damages)


def verify(file: BinaryIO, prior: Prior | None = None) -> Verdict:
    """Check every byte of a ``.dacz`` file, and find all that is wrong with it.

    Raises:
        FormatError: if the header is damaged, so that nothing else can be checked.
    """
    start = file.tell()
    reader = Reader(file, prior=prior, conceal=True, packets_ahead=64)
    codes_checked = True
    try:
        n_frames = sum(packet.n_frames for packet in reader)
        damages, n_samples = reader.damages, reader.n_samples
    except PriorError:
        codes_checked = False
        file.seek(start)
        packets = PacketSequence(file, conceal=True)
        for _ in packets:
            pass
        n_frames, damages, n_samples = packets.n_frames, packets.damages, packets.n_samples
    assert n_samples is not None  # known from the end mark, or from the frames
    damages = damages or _strict_damage(file, start)
    return Verdict(reader.header, n_frames, n_samples, damages, codes_checked)


def repair(
    file: BinaryIO, output: Writable, *, header: Header | None = None, prior: Prior | None = None
) -> list[Damage]:
    """Write a valid file with all that is left of ``file``, keeping its timing.

    Lost frames repeat the one before them. Undamaged packets are copied as they are.

    Args:
        header: of another file of the same kind, if that of ``file`` is damaged. Its n_samples is ignored.
        prior: of the model; by default one that comes with the package.

    Returns:
        What was wrong.

    Raises:
        FormatError: if the header is damaged and none was given.
        PriorError: if packets are entropy-coded and their prior is not available.
    """
    start = file.tell()
    if header is not None:
        header = replace(header, n_samples=None)
    # Two passes: one for the length, which the header may need, and one for the codes.
    reader = Reader(file, prior=prior, header=header, conceal=True, packets_ahead=64)
    for _ in reader:
        pass
    file.seek(start)
    known = reader.header.n_samples is not None
    new_header = replace(reader.header, n_samples=reader.n_samples if known else None)
    writer = Writer(output, new_header, prior=prior, index=reader.has_index)
    for packet in Reader(file, prior=prior, header=header, conceal=True, packets_ahead=64):
        writer.write(packet.codes)
        writer.flush()
    writer.close(reader.n_samples)
    return reader.damages


def _strict_damage(file: BinaryIO, start: int) -> list[Damage]:
    """Damage that only a strict reader minds, such as bytes after the end."""
    file.seek(start)
    packets = PacketSequence(file)
    try:
        for _ in packets:
            pass
    except FormatError as error:
        return [Damage(error.offset or 0, str(error), packets.n_frames, 0)]
    return []
