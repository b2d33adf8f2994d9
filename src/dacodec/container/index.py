"""The index: which packets get an entry, and how a seeking reader finds it."""

from __future__ import annotations

import io
from typing import BinaryIO

from dacodec.container.blocks import (
    END_BODY,
    HEAD,
    Entry,
    check_crc,
    parse_end,
    parse_index,
    take_block,
)
from dacodec.container.format import CRC_BYTES, END, INDEX, MAX_INDEX_ENTRIES
from dacodec.container.header import Header
from dacodec.container.stream import Source
from dacodec.errors import FormatError

ENTRY_SECONDS = 10
END_BYTES = HEAD.size + END_BODY.size + CRC_BYTES


class IndexBuilder:
    """Chooses the packets that get an entry: the first of every 10 s, fewer in a file of over a week."""

    def __init__(self, header: Header) -> None:
        self._distance = -(-ENTRY_SECONDS * header.model_sampling_rate // header.hop_length)
        self.entries: list[Entry] = []

    def add(self, first_frame: int, offset: int) -> None:
        """Record the next packet."""
        if self.entries and first_frame < self.entries[-1].first_frame + self._distance:
            return
        if len(self.entries) == MAX_INDEX_ENTRIES:
            self.entries = self.entries[::2]
            self._distance *= 2
            self.add(first_frame, offset)
        else:
            self.entries.append(Entry(first_frame, offset))


def read_index(file: BinaryIO, start: int, header: Header) -> list[Entry]:
    """The index of a file that begins at ``start`` of ``file``; empty where there is none or it cannot be found.

    Raises:
        FormatError: if the end mark points to something other than an index.
    """
    size = file.seek(0, io.SEEK_END) - start
    file.seek(start + max(0, size - END_BYTES))
    try:
        block = take_block(header, Source(file, size - END_BYTES), "the end mark")
        check_crc(block)
        index_length = parse_end(block).index_length if block.head.kind == END else 0
    except FormatError:  # a truncated recording, or one damaged there
        return []
    if index_length == 0:
        return []
    offset = size - END_BYTES - index_length
    if offset < 0:
        raise FormatError(
            f"an index of {index_length} bytes does not fit in the file", size - END_BYTES + HEAD.size + 8
        )
    file.seek(start + offset)
    block = take_block(header, Source(file, offset), "the index")
    check_crc(block)
    if block.head.kind != INDEX:
        raise FormatError("the index should start here", offset)
    return parse_index(block)
