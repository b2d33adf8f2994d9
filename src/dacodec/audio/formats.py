"""Which format a recording has, by its content and never by its name, and what reads it.

This is the only such table. FFmpeg is told its demuxer; none of those listed opens other files or probes the
format again.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from dacodec.audio import flac, mpeg
from dacodec.audio.source import Source
from dacodec.errors import AudioError

# Suffixes of audio files: only for choosing files from a folder.
AUDIO_SUFFIXES = frozenset(
    [
        *[".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"],
        *[".flac", ".fla", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mp1", ".mpga", ".m4a"],
        *[".m4b", ".mp4", ".mov", ".3gp", ".aac", ".adts", ".ac3", ".eac3", ".dts", ".webm", ".mka"],
        *[".mkv", ".wma", ".asf", ".wv", ".ape", ".tta", ".mpc", ".tak", ".shn", ".dsf", ".dff"],
        *[".amr", ".sph", ".nist", ".voc", ".avi", ".flv", ".iff", ".8svx", ".sf", ".ircam", ".paf"],
        *[".sds", ".rm", ".ra"],
    ]
)

Reader = Literal["containers", "flac", "ogg", "mpeg", "ffmpeg", "libsndfile"]


class Format(NamedTuple):
    """What reads a recording, and FFmpeg's name for its format."""

    reader: Reader
    demuxer: str = ""


# First bytes of a file, at which offset, and what reads it. "containers" hold plain samples, which are read
# here; coded audio in them goes to the demuxer.
TABLE: list[tuple[bytes, int, Format]] = [
    (b"WAVE", 8, Format("containers", "wav")),
    (b"riff\x2e\x91\xcf\x11", 0, Format("containers", "w64")),
    (b"AIFF", 8, Format("containers", "aiff")),
    (b"AIFC", 8, Format("containers", "aiff")),
    (b"caff", 0, Format("containers", "caf")),
    (b".snd", 0, Format("containers", "au")),
    (b"dns.", 0, Format("containers", "au")),
    (b"fLaC", 0, Format("flac", "flac")),
    (b"OggS", 0, Format("ogg", "ogg")),
    *((name, 4, Format("ffmpeg", "mov")) for name in (b"ftyp", b"moov", b"mdat", b"wide", b"pnot")),
    (b"\x1a\x45\xdf\xa3", 0, Format("ffmpeg", "matroska")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, Format("ffmpeg", "asf")),
    (b"AVI ", 8, Format("ffmpeg", "avi")),
    (b"FLV\x01", 0, Format("ffmpeg", "flv")),
    (b"wvpk", 0, Format("ffmpeg", "wv")),
    (b"MAC ", 0, Format("ffmpeg", "ape")),
    (b"TTA1", 0, Format("ffmpeg", "tta")),
    (b"MP+", 0, Format("ffmpeg", "mpc")),
    (b"MPCK", 0, Format("ffmpeg", "mpc8")),
    (b"tBaK", 0, Format("ffmpeg", "tak")),
    (b"ajkg", 0, Format("ffmpeg", "shn")),
    (b"DSD ", 0, Format("ffmpeg", "dsf")),
    (b"FRM8", 0, Format("ffmpeg", "iff")),
    (b"8SVX", 8, Format("ffmpeg", "iff")),
    (b"NIST_1A", 0, Format("ffmpeg", "nistsphere")),
    (b"Creative Voice File", 0, Format("ffmpeg", "voc")),
    (b"#!AMR", 0, Format("ffmpeg", "amr")),
    (b".RMF", 0, Format("ffmpeg", "rm")),
    (b".ra\xfd", 0, Format("ffmpeg", "rm")),
    (b"\x7f\xfe\x80\x01", 0, Format("ffmpeg", "dts")),
    (b"\x00\x00\x01\xba", 0, Format("ffmpeg", "mpeg")),
]
_LOOKED_THROUGH = 1 << 17  # bytes of something else that may precede the audio


def recognised(source: Source) -> Format:
    """What reads ``source``, whose position 0 is moved past tags and garbage before the audio.

    Raises:
        AudioError: if it is empty, or only a tag.
    """
    if not source.peek(1):
        raise AudioError("it is empty")
    while length := mpeg.tag_bytes(source.peek(32)):
        source.skip(length)
        source.begin()
    head = source.peek(40)
    if not head:
        raise AudioError("it holds no samples, only a tag")
    for magic, offset, format in TABLE:
        if head.startswith(magic, offset):
            return format
    data = source.peek(_LOOKED_THROUGH)
    return _by_frames(source, data, whole=len(data) < _LOOKED_THROUGH) or Format("libsndfile")


def _by_frames(source: Source, data: bytes, whole: bool) -> Format | None:
    """A format of frames with sync words and no file header, possibly preceded by something else."""
    if mpeg.begins(data, 0, whole):
        return Format("mpeg")
    if demuxer := _demuxer_of_frames(data, whole):
        return Format("ffmpeg", demuxer)
    found = [
        (data.find(b"fLaC"), Format("flac", "flac")),
        (flac.find_frames(data), Format("ffmpeg", "flac")),
        (mpeg.find(data, 1, whole), Format("mpeg")),
    ]
    found = [(at, format) for at, format in found if at >= 0]
    if not found:
        return None
    at, format = min(found, key=lambda one: one[0])
    source.skip(at)
    source.begin()
    return format


def _demuxer_of_frames(data: bytes, whole: bool) -> str | None:
    if data[:2] == b"\x0b\x77" and len(data) > 5:
        return "eac3" if data[5] >> 3 > 10 else "ac3"
    if len(data) > 5 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:  # AAC in ADTS
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        following = data[length : length + 2]
        if length > 7 and (following == data[:2] or (whole and length >= len(data))):
            return "aac"
    if len(data) > 3 and data[0] == 0x56 and data[1] & 0xE0 == 0xE0:  # AAC in LOAS
        length = 3 + ((data[1] & 0x1F) << 8 | data[2])
        if data[length : length + 1] == b"\x56":
            return "loas"
    if len(data) > 3 * 188 and data[0] == data[188] == data[376] == 0x47:
        return "mpegts"
    return None
