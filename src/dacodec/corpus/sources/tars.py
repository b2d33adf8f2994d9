"""WebDataset tars: the members of a sample follow one another and share their name up to its first dot."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from itertools import groupby, islice

import pyarrow as pa

from dacodec.audio import AUDIO_SUFFIXES
from dacodec.corpus.addresses import Found, explained, open_address
from dacodec.corpus.items import Item, MemberPlace, Unlisted
from dacodec.corpus.sources.columns import passed
from dacodec.errors import InputError

_TEXT_BYTES = 1 << 16  # larger members are not descriptions of a recording
_LOOKED_AT = 64  # members looked at for the columns


class Tar:
    """The audio members of a tar, each with the texts of its sample as columns: ``.txt`` is ``txt``, ``.json`` is ``json``."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def fields(self) -> dict[str, pa.DataType]:
        """The columns of the first samples."""
        names: dict[str, pa.DataType] = {}
        try:
            with open_address(self._found.address) as file, _opened(file) as tar:
                for member in islice(filter(tarfile.TarInfo.isfile, tar), _LOOKED_AT):
                    if not _is_audio(member) and _text(tar, member) is not None:
                        names[passed(_extension(member))] = pa.string()
        except (tarfile.TarError, InputError, OSError, ValueError):
            pass  # items() reports it
        return names

    def items(self) -> Iterator[Item | Unlisted]:
        address, name, _ = self._found
        try:
            with open_address(address) as file, _opened(file) as tar:
                files = (member for member in tar if member.isfile())
                for _, sample in groupby(files, key=_sample):
                    yield from self._sample(tar, list(sample))
                    tar.members = []  # type: ignore[attr-defined]  # it keeps all members it has seen
        except (tarfile.TarError, InputError, OSError, ValueError) as error:
            yield Unlisted(name, address, f"the rest of the tar cannot be read: {explained(error)}")

    def _sample(self, tar: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Iterator[Item]:
        texts = [(passed(_extension(m)), _text(tar, m)) for m in members if not _is_audio(m)]
        columns = {name: text for name, text in texts if text is not None}
        for m in filter(_is_audio, members):
            place = MemberPlace(self._found.address, m.name, m.offset_data, m.size)
            yield Item(f"{self._found.name}/{m.name}", place, f"{m.size} {m.mtime}", columns=columns)


def _opened(file: object) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")  # type: ignore[call-overload]
    except tarfile.ReadError as error:
        raise InputError(
            f"{error}; a compressed tar must be unpacked first, an empty one has no end mark"
        ) from None


def _sample(member: tarfile.TarInfo) -> str:
    folder, name = posixpath.split(member.name)
    return posixpath.join(folder, name.split(".", 1)[0])


def _extension(member: tarfile.TarInfo) -> str:
    return posixpath.basename(member.name).partition(".")[2]


def _is_audio(member: tarfile.TarInfo) -> bool:
    return posixpath.splitext(member.name)[1].lower() in AUDIO_SUFFIXES


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    content = tar.extractfile(member) if member.size <= _TEXT_BYTES and _extension(member) else None
    try:
        return None if content is None else content.read().decode()
    except UnicodeDecodeError:
        return None
