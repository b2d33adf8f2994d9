"""Reads a file's header, or says what else the file seems to be."""

from __future__ import annotations

from dacodec.container.extensions import parse_records
from dacodec.container.format import CRC_BYTES, DRAFT, MAGIC, UNKNOWN_SAMPLES, VERSION, seal_holds
from dacodec.container.header import FIELDS, NAME_OFFSET, PREFIX, FieldError, Header
from dacodec.container.stream import Source
from dacodec.errors import FormatError

# First bytes of files that people take for ours: WAV, RF64, W64, AIFF, CAF, FLAC, Ogg, MP3, Matroska. MP4's
# come later.
_AUDIO_MAGICS = (
    b"RIFF",
    b"RF64",
    b"riff",
    b"FORM",
    b"caff",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"\xff\xfb",
    b"\xff\xf3",
    b"\x1aE\xdf\xa3",
)


def read_header(source: Source) -> Header:
    """Read and check a header, taking at most 64 KiB from ``source``.

    Raises:
        FormatError: with the offset of the wrong field.
    """
    data = source.take_up_to(PREFIX.size)
    _check_magic(data)
    data += source.take(PREFIX.size - len(data), "the header")
    _, version, flags, length = PREFIX.unpack(data)
    if version == DRAFT:
        raise FormatError(
            "a draft of this format, from before version 1 was frozen: encode the audio again, or decode the file "
            "with the dacodec that wrote it",
            8,
        )
    if version != VERSION:
        raise FormatError(f"version {version} of the format; this reader knows version {VERSION} only", 8)
    if length <= NAME_OFFSET + CRC_BYTES:
        raise FormatError(f"a header of {length} bytes is too short", 10)
    data += source.take(length - len(data), "the header")
    if not seal_holds(data):
        raise FormatError("the header is damaged: its CRC does not match", 0)
    if flags != 0:
        raise FormatError(f"reserved flags are set: {flags:#x}", 9)
    return _parse(data[:-CRC_BYTES])


def _check_magic(data: bytes) -> None:
    magic = data[: len(MAGIC)]
    if MAGIC.startswith(magic):  # a shorter one is a truncated file, reported as such
        return
    if magic.startswith(b"\x93NUMPY"):
        raise FormatError(
            "this is a pickled NumPy file, perhaps one of Descript's .dac files. Loading one can run code, "
            "so it is not loaded",
            0,
        )
    if b"DAC" in magic:
        raise FormatError("not a .dacz file, or one changed by a transfer as text: transfer it as binary", 0)
    is_audio = magic.startswith(_AUDIO_MAGICS) or magic[4:] == b"ftyp"
    instead = " but audio: `dacodec encode` makes a .dacz file of it" if is_audio else ""
    raise FormatError(f"not a .dacz file{instead}", 0)


def _parse(data: bytes) -> Header:
    """The header in ``data``, which ends before the CRC."""
    (
        model_sampling_rate,
        hop_length,
        codebook_size,
        sampling_rate,
        gain,
        n_samples,
        packet_frames,
        n_codebooks,
        channels,
        channel_coding,
        name_length,
        fingerprint,
    ) = FIELDS.unpack_from(data, PREFIX.size)
    name_end = NAME_OFFSET + name_length
    if name_end > len(data):
        raise FormatError(f"model_name has {name_length} bytes, more than the header", 45)
    model_name = _decode_name(data[NAME_OFFSET:name_end])
    records = parse_records(data, name_end)
    try:
        return Header(
            model_name=model_name,
            fingerprint=fingerprint,
            model_sampling_rate=model_sampling_rate,
            hop_length=hop_length,
            codebook_size=codebook_size,
            n_codebooks=n_codebooks,
            sampling_rate=sampling_rate,
            channels=channels,
            n_samples=None if n_samples == UNKNOWN_SAMPLES else n_samples,
            gain=gain,
            packet_frames=packet_frames,
            channel_coding=channel_coding,
            prior_id=records.prior_id,
            tags=records.tags,
            speakers=records.speakers,
            extensions=records.extensions,
        )
    except FieldError as error:
        raise FormatError(str(error), error.position) from None
    except FormatError as error:  # in what an extension says
        raise FormatError(str(error), name_end) from None


def _decode_name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError("model_name is not UTF-8", NAME_OFFSET + error.start) from None
