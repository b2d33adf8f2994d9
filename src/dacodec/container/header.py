"""The file header: the model, the layout of its codes, and the properties of the audio."""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass

from dacodec.container.extensions import (
    RECORD,
    Extension,
    Tag,
    check_extra,
    check_prior_id,
    check_speakers,
    check_tags,
    has_controls,
    records_of,
)
from dacodec.container.format import (
    CRC_BYTES,
    MAGIC,
    MAX_PACKET_CODES,
    MAX_PACKET_SECONDS,
    MAX_SAMPLES,
    UNKNOWN_SAMPLES,
    VERSION,
    sealed,
)
from dacodec.errors import FormatError

PREFIX = struct.Struct("<8sBBH")  # magic, version, flags, header_length
# model_sampling_rate, hop_length, codebook_size, sampling_rate, gain, n_samples, packet_frames,
# n_codebooks, channels, channel_coding, name_length, fingerprint
FIELDS = struct.Struct("<IIIIfQHBBBB32s")

NAME_OFFSET = PREFIX.size + FIELDS.size
MAX_HEADER_BYTES = 2**16 - 1
MAX_NAME_BYTES = 255
MAX_GAIN = 2.0**24
# offset, least and most value of the integers
BOUNDS = {
    "model_sampling_rate": (12, 1, 768_000),
    "hop_length": (16, 1, 2**20),
    "codebook_size": (20, 2, 2**16),
    "sampling_rate": (24, 1, 768_000),
    "packet_frames": (40, 1, 2**16 - 1),
    "n_codebooks": (42, 1, 255),
    "channels": (43, 1, 255),
    "channel_coding": (44, 0, 1),
}
# values of channel_coding
AS_GIVEN, MID_SIDE = 0, 1


@dataclass(frozen=True)
class Header:
    """What a ``.dacz`` file says about itself.

    Args:
        model_name: where to find the model; at most 255 bytes of UTF-8, no control characters, and not
            ``"builtin"``, whose meaning may change with every release.
        fingerprint: 32 bytes, the identity of the model's weights.
        model_sampling_rate: in Hz, of the model's input and output.
        hop_length: model samples per frame.
        codebook_size: codes are below it; 2 to 65536.
        n_codebooks: codebooks in the file, K.
        sampling_rate: in Hz, of the original audio, and of what decoding gives.
        channels: of the audio, C.
        n_samples: samples per channel at ``sampling_rate``; None if only the end of the file says. It is a
            mere claim until the end mark is read: do not allocate by it.
        gain: the factor applied to the audio before coding, divided out after decoding. Rounded to float32,
            as in the file.
        packet_frames: most frames in a packet; by default :func:`default_packet_frames`.
        channel_coding: ``AS_GIVEN``, or ``MID_SIDE`` for two channels that are (left + right) / 2 and
            (left - right) / 2.
        prior_id: id of the prior that packets may be coded with (8 bytes); None if all are raw.
        tags: (key, value) pairs of text, such as ``("TITLE", "...")``.
        speakers: which loudspeaker each channel is for, WAVEFORMATEXTENSIBLE's mask; None if unknown.
        extensions: records of later versions, in ascending order of type.

    Raises:
        FormatError: for values outside the bounds of docs/format.md.
    """

    model_name: str
    fingerprint: bytes
    model_sampling_rate: int
    hop_length: int
    codebook_size: int
    n_codebooks: int
    sampling_rate: int
    channels: int
    n_samples: int | None
    gain: float = 1.0
    packet_frames: int = None  # type: ignore[assignment]  # derived in __post_init__ when left out
    channel_coding: int = AS_GIVEN
    prior_id: bytes | None = None
    tags: tuple[Tag, ...] = ()
    speakers: int | None = None
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        if self.packet_frames is None:
            # A rate or hop out of bounds is reported below, not here.
            frames = default_packet_frames(max(self.model_sampling_rate, 1), max(self.hop_length, 1))
            object.__setattr__(self, "packet_frames", frames)
        for name in BOUNDS:
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        object.__setattr__(self, "tags", tuple(Tag(*tag) for tag in self.tags))
        object.__setattr__(self, "extensions", tuple(Extension(*e) for e in self.extensions))
        _check_numbers(self)
        _check_names(self)
        _check_extensions(self)
        object.__setattr__(self, "gain", struct.unpack("<f", struct.pack("<f", self.gain))[0])

    @property
    def is_mid_side(self) -> bool:
        return self.channel_coding == MID_SIDE

    def to_bytes(self) -> bytes:
        """The header as stored in a file, CRC included."""
        name = self.model_name.encode()
        records = records_of(self.prior_id, self.tags, self.speakers, self.extensions)
        extensions = b"".join(RECORD.pack(type_, len(data)) + data for type_, data in records)
        n_samples = UNKNOWN_SAMPLES if self.n_samples is None else self.n_samples
        fields = FIELDS.pack(
            self.model_sampling_rate,
            self.hop_length,
            self.codebook_size,
            self.sampling_rate,
            self.gain,
            n_samples,
            self.packet_frames,
            self.n_codebooks,
            self.channels,
            self.channel_coding,
            len(name),
            self.fingerprint,
        )
        body = fields + name + extensions
        return sealed(PREFIX.pack(MAGIC, VERSION, 0, PREFIX.size + len(body) + CRC_BYTES) + body)


def default_packet_frames(model_sampling_rate: int, hop_length: int) -> int:
    """About one second: a multiple of 8 frames, if a second has that many, so that codes fill whole bytes.

    Independent of the number of codebooks, so that a file with fewer has the same packets.
    """
    eights = (model_sampling_rate + 4 * hop_length) // (8 * hop_length)
    return min(8 * eights or 1, 2**16 - 8)


def max_samples(header: Header, n_frames: int) -> int:
    """The most samples per channel that ``n_frames`` frames can stand for."""
    if n_frames == 0:
        return 0
    return min(samples_of(header, n_frames + 1), MAX_SAMPLES)  # one to spare: resamplers round lengths


def samples_of(header: Header, n_frames: int) -> int:
    """Samples per channel that ``n_frames`` frames stand for."""
    return n_frames * header.hop_length * header.sampling_rate // header.model_sampling_rate


def frames_of(header: Header, n_samples: int) -> int:
    """Frames that ``n_samples`` samples per channel need."""
    return -(-n_samples * header.model_sampling_rate // (header.hop_length * header.sampling_rate))


class FieldError(FormatError):
    """A field out of bounds, and its position in a header.

    The position is reported when a header is read, not when one is made.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def _check_numbers(header: Header) -> None:
    for name, (position, least, most) in BOUNDS.items():
        value = getattr(header, name)
        if not least <= value <= most:
            raise FieldError(f"{name} is {value}, not in {least}..{most}", position)
    if not 1 / MAX_GAIN <= header.gain <= MAX_GAIN:  # also refuses NaN
        raise FieldError(f"gain is {header.gain}, not in 2^-24..2^24", 28)
    if header.n_samples is not None and not 0 <= operator.index(header.n_samples) <= MAX_SAMPLES:
        raise FieldError(f"n_samples is {header.n_samples}, not in 0..2^53-1", 32)
    span = header.packet_frames * header.hop_length
    if header.packet_frames > 1 and span > MAX_PACKET_SECONDS * header.model_sampling_rate:
        raise FieldError(f"{header.packet_frames} frames a packet are over {MAX_PACKET_SECONDS} s", 40)
    if header.channel_coding == MID_SIDE and header.channels != 2:
        raise FieldError(f"mid/side coding of {header.channels} channels; it needs two", 44)
    n_codes = header.channels * header.n_codebooks * header.packet_frames
    if n_codes > MAX_PACKET_CODES:
        raise FieldError(f"{n_codes} codes a packet, over {MAX_PACKET_CODES}; lower packet_frames", 40)


def _check_names(header: Header) -> None:
    if not isinstance(header.fingerprint, bytes) or len(header.fingerprint) != 32:
        raise FieldError(f"fingerprint must be 32 bytes, got {header.fingerprint!r}", 46)
    try:
        length = len(header.model_name.encode())
    except UnicodeEncodeError:
        raise FieldError("model_name cannot be written as UTF-8", NAME_OFFSET) from None
    if not 1 <= length <= MAX_NAME_BYTES:
        raise FieldError(f"model_name has {length} bytes, not 1..{MAX_NAME_BYTES}", 45)
    if has_controls(header.model_name):
        raise FieldError(f"model_name {header.model_name!r} has control characters", NAME_OFFSET)
    if header.model_name == "builtin":
        raise FieldError(
            "model_name is 'builtin', whose meaning may change with every release; give the model's own name",
            NAME_OFFSET,
        )


def _check_extensions(header: Header) -> None:
    check_prior_id(header.prior_id)
    check_tags(header.tags)
    check_speakers(header.speakers, header.channels)
    check_extra(header.extensions)
    records = records_of(header.prior_id, header.tags, header.speakers, header.extensions)
    length = NAME_OFFSET + len(header.model_name.encode()) + CRC_BYTES
    length += sum(RECORD.size + len(data) for _, data in records)
    if length > MAX_HEADER_BYTES:
        raise FormatError(f"the header has {length} bytes, over {MAX_HEADER_BYTES}; give shorter tags")
