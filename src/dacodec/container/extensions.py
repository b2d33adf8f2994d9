"""Records between the model's name and the header's CRC: prior, tags, speakers, and later additions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dacodec.errors import FormatError

RECORD = struct.Struct("<HH")  # type and length of a record

PRIOR = 0x0001
OPTIONAL = 0x8000  # unknown types from here on may be skipped
TAGS = 0x8001
SPEAKERS = 0x8002

PRIOR_ID_BYTES = 8


class Extension(NamedTuple):
    """A record of a later version. Readers skip unknown types from 0x8000 on."""

    type: int
    data: bytes


class Tag(NamedTuple):
    """Text about the audio, under a key of Vorbis comments such as ``TITLE``."""

    key: str
    value: str


class Records(NamedTuple):
    """What the records of a header say."""

    prior_id: bytes | None
    tags: tuple[Tag, ...]
    speakers: int | None
    extensions: tuple[Extension, ...]


def records_of(
    prior_id: bytes | None,
    tags: tuple[Tag, ...],
    speakers: int | None,
    extensions: tuple[Extension, ...],
) -> list[Extension]:
    """The records as stored in a header; the inverse of :func:`parse_records`."""
    records = list(extensions)
    if prior_id is not None:
        records.append(Extension(PRIOR, prior_id))
    if tags:
        records.append(Extension(TAGS, b"".join(map(_tag_to_bytes, tags))))
    if speakers is not None:
        records.append(Extension(SPEAKERS, speakers.to_bytes(4, "little")))
    return sorted(records)


def parse_records(data: bytes, start: int) -> Records:
    """The records from ``start`` to the end of ``data``, which starts where the file does.

    Raises:
        FormatError: for unknown types below 0x8000 and violations of docs/format.md, with the offset.
    """
    prior_id: bytes | None = None
    tags: tuple[Tag, ...] = ()
    speakers: int | None = None
    extensions = []
    for position, type_, record in _split(data, start):
        if type_ == PRIOR:
            prior_id = _sized(record, PRIOR_ID_BYTES, position)
        elif type_ == TAGS:
            tags = _parse_tags(record, position + RECORD.size)
        elif type_ == SPEAKERS:
            speakers = int.from_bytes(_sized(record, 4, position), "little")
        elif type_ < OPTIONAL:
            raise FormatError(
                f"extension {type_:#06x} is unknown and may not be skipped; a newer version may read it",
                position,
            )
        else:
            extensions.append(Extension(type_, record))
    return Records(prior_id, tags, speakers, tuple(extensions))


def _split(data: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Position, type and content of each record."""
    previous = -1
    while position < len(data):
        if len(data) - position < RECORD.size:
            raise FormatError("the header ends inside an extension", position)
        type_, length = RECORD.unpack_from(data, position)
        start = position + RECORD.size
        if type_ <= previous:
            raise FormatError(f"extension {type_:#06x} does not ascend after {previous:#06x}", position)
        if length > len(data) - start:
            raise FormatError(f"an extension of {length} bytes is longer than the header", position + 2)
        yield position, type_, data[start : start + length]
        previous = type_
        position = start + length


def _sized(record: bytes, length: int, position: int) -> bytes:
    if len(record) != length:
        raise FormatError(f"this extension has {length} bytes, not {len(record)}", position + 2)
    return record


def check_prior_id(prior_id: bytes | None) -> None:
    if prior_id is not None and (not isinstance(prior_id, bytes) or len(prior_id) != PRIOR_ID_BYTES):
        raise FormatError(f"prior_id must be 8 bytes, got {prior_id!r}")


def check_tags(tags: tuple[Tag, ...]) -> None:
    """Raise FormatError for tags that no file can have."""
    for key, value in tags:
        try:
            key_length, value_length = len(key.encode()), len(value.encode())
        except UnicodeEncodeError:
            raise FormatError(f"the tag {key!r} cannot be written as UTF-8") from None
        if not 1 <= key_length <= 255:
            raise FormatError(f"a tag's key has {key_length} bytes, not 1..255")
        if value_length > 2**16 - 1:
            raise FormatError(f"the tag {key} has {value_length} bytes, more than 65535")
        if has_controls(key) or has_controls(value.replace("\n", "").replace("\t", "")):
            raise FormatError(f"the tag {key!r} has control characters")


def check_speakers(speakers: int | None, channels: int) -> None:
    if speakers is not None and not (0 < speakers < 2**32 and speakers.bit_count() == channels):
        raise FormatError(f"speakers {speakers:#x} are not a mask of {channels} bits, one for each channel")


def check_extra(extensions: tuple[Extension, ...]) -> None:
    """Raise FormatError for records that this version could not skip, or knows itself."""
    previous = OPTIONAL - 1
    for type_, _ in extensions:
        if not previous < type_ <= 0xFFFF or type_ in (TAGS, SPEAKERS):
            raise FormatError(
                f"extension {type_:#06x}: types of later versions ascend from 0x8000 to 0xffff, without those of "
                "this version"
            )
        previous = type_


def has_controls(text: str) -> bool:
    """Whether ``text`` has control characters, which a terminal would obey."""
    return any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text)


def _tag_to_bytes(tag: Tag) -> bytes:
    key, value = tag.key.encode(), tag.value.encode()
    return bytes([len(key)]) + key + len(value).to_bytes(2, "little") + value


def _parse_tags(data: bytes, offset: int) -> tuple[Tag, ...]:
    tags = []
    position = 0
    while position < len(data):
        start = position
        key_end = start + 1 + data[start]
        value_start = key_end + 2
        value_end = value_start + int.from_bytes(data[key_end:value_start], "little")
        if value_start > len(data) or value_end > len(data):
            raise FormatError("a tag is longer than the tags", offset + start)
        try:
            tags.append(Tag(data[start + 1 : key_end].decode(), data[value_start:value_end].decode()))
        except UnicodeDecodeError:
            raise FormatError("a tag is not UTF-8", offset + start) from None
        position = value_end
    if not tags:
        raise FormatError("tags without a tag", offset)
    return tuple(tags)
