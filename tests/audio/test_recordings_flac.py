"""FLAC that changes, lies or is damaged."""

import struct

import numpy as np
import pytest
from recordings import RATE, encoded, patched, pcm, piped, read, tone, warned

from dacodec.audio import flac
from dacodec.errors import AudioError

pytestmark = pytest.mark.usefixtures("no_warning_passes")


def flac_by_ffmpeg(samples, rate=RATE, bits=16):
    return encoded(samples, rate, "flac", "flac")


def streaminfo(data, n_samples):
    field = int.from_bytes(data[18:26], "big")
    return patched(data, 18, (field & ~((1 << 36) - 1) | n_samples).to_bytes(8, "big"))


def test_flac_whose_header_claims_fewer_samples():
    data = pcm("FLAC")
    with warned(f"claims 39842 samples, there are {RATE}; all are read"):
        result = read(streaminfo(data, 39842))
    np.testing.assert_array_equal(result.samples, read(data).samples)


def flac_frames(data):
    """Everything after the metadata."""
    at = 4
    while True:
        last, size = data[at] >> 7, int.from_bytes(data[at + 1 : at + 4], "big")
        at += 4 + size
        if last:
            return data[at:]


def renumbered(frames, first_number):
    """Frames renumbered, with new checksums: a FLAC stream that continues in another format."""
    found = []
    at = 0
    while at < len(frames):
        following = at + 1
        while following < len(frames):
            following = frames.find(b"\xff\xf8", following)
            if following < 0:
                following = len(frames)
            elif flac._frame(frames, following):
                break
            else:
                following += 1
        found.append(frames[at:following])
        at = following
    return b"".join(_renumbered(frame, first_number + i) for i, frame in enumerate(found))


def _renumbered(frame, number):
    assert frame[4] < 0x80 > number
    extra = {6: 1, 7: 2}.get(frame[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)
    head = frame[:4] + bytes([number]) + frame[5 : 5 + extra]
    crc = 0
    for byte in head:
        crc = flac._CRC8[crc ^ byte]
    body = head + bytes([crc]) + frame[6 + extra : -2]
    crc = 0
    for byte in body:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if crc & 0x8000 else 0)) & 0xFFFF
    return body + crc.to_bytes(2, "big")


def changing_flac(*parts):
    """Several FLAC files joined into one."""
    data, number = parts[0], 0
    result = b""
    for part in parts:
        frames = renumbered(flac_frames(part), number)
        number += -(-(int.from_bytes(part[18:26], "big") % (1 << 36)) // 4096)
        result += frames
    total = sum(int.from_bytes(part[18:26], "big") % (1 << 36) for part in parts)
    head = data[: len(data) - len(flac_frames(data))]
    return streaminfo(head, total) + result


BLOCKS = 4096 * 10  # samples, so that all frames are full


def test_flac_that_changes_its_sampling_rate():
    samples = tone(1, 48000)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples, 48000), pcm("FLAC", samples, 24000))
    with warned("its sampling rate changes from 48000 to 24000 Hz"):
        result = read(data)
    assert (result.samples.shape, result.sampling_rate) == ((1, 3 * BLOCKS), 48000)


def test_flac_that_changes_its_bit_depth():
    """FFmpeg refuses it."""
    samples = tone(1)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples), pcm("FLAC", samples, subtype="PCM_24"))
    expected = [read(pcm("FLAC", samples, subtype=s)).samples for s in ("PCM_16", "PCM_24")]
    np.testing.assert_array_equal(read(data).samples, np.concatenate(expected, 1))


def test_flac_that_changes_its_channels():
    samples = tone(1, channels=2)[:, :BLOCKS]
    data = changing_flac(pcm("FLAC", samples[:1]), pcm("FLAC", samples))
    with warned("it changes from 1 to 2 channels"):
        assert read(data).samples.shape == (1, 2 * BLOCKS)


@pytest.mark.parametrize("bits", [12, 15, 20])
def test_flac_of_other_bits(bits):
    """Made by hand: verbatim subframes."""
    values = np.round(tone(0.1)[0] * 2 ** (bits - 1)).astype(np.int64)
    frames = b""
    for number, start in enumerate(range(0, len(values), 192)):
        block = values[start : start + 192]
        head = bytes([0xFF, 0xF8, 0x69, {12: 0x04, 20: 0x0A}.get(bits, 0x00), number, len(block) - 1])
        written = "".join(f"{int(v) & (1 << bits) - 1:0{bits}b}" for v in block)
        written += "0" * (-len(written) % 8)
        body = head + b"\0" + b"\x02" + int(written, 2).to_bytes(len(written) // 8, "big") + b"\0\0"
        frames += _renumbered(body, number)
    info = struct.pack(">HH6xQ16x", 192, 192, 44100 << 44 | bits - 1 << 36 | len(values))
    data = b"fLaC\x80\0\0\x22" + info + frames
    for result in (read(data), piped(data)):
        np.testing.assert_array_equal(result.samples[0] * 2 ** (bits - 1), values)


def test_flac_without_its_beginning():
    data = pcm("FLAC")
    expected = read(data).samples
    np.testing.assert_array_equal(read(flac_frames(data)).samples, expected)
    rubbish = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    np.testing.assert_array_equal(read(rubbish + data).samples, expected)
    np.testing.assert_array_equal(read(rubbish + flac_frames(data)).samples, expected)


def test_damaged_flac_is_kept():
    data = pcm("FLAC", np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2 * RATE)))
    damaged = patched(data, len(data) // 2, bytes([data[len(data) // 2] ^ 255]))
    with pytest.raises(AudioError, match="damaged"):
        read(damaged)
    with warned("damaged"):
        kept = read(damaged, damaged="keep")
    assert kept.damage[0].missing == 2 * RATE - kept.samples.shape[1] == 4096
    assert kept.damage[0].seconds == pytest.approx(1, abs=0.1)
