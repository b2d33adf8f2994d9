"""The bytes of the page: its worked example, its table, its checksums, its overhead."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import slow_dacz
from golden_dacz import CODES, GOLDEN, HEADER, STARTS

from dacodec.container import SUFFIX, Header, Reader, Writer
from dacodec.container.format import VERSION, crc16, sealed
from dacodec.container.header import BOUNDS, default_packet_frames

PAGE = Path(__file__).parents[2] / "docs" / "format.md"


def written(header, *portions, n_samples=None):
    file = io.BytesIO()
    writer = Writer(file, header)
    for codes in portions:
        writer.write(codes)
    writer.close(n_samples)
    return file.getvalue()


def test_writes_the_golden_bytes():
    assert written(HEADER, np.array(CODES, np.uint16)) == GOLDEN


def test_reads_the_golden_bytes():
    reader = Reader(io.BytesIO(GOLDEN))
    assert reader.header == HEADER
    packets = list(reader)
    assert [(p.first_frame, p.n_frames) for p in packets] == [(0, 4), (4, 1)]
    assert all(p.codes.dtype == np.uint16 for p in packets)
    np.testing.assert_array_equal(np.concatenate([p.codes for p in packets], axis=2), CODES)
    assert (reader.n_frames, reader.n_samples) == (5, 1500)


def test_the_slow_reader_reads_the_golden_bytes():
    header, packets, n_samples = slow_dacz.read(GOLDEN)
    assert (header["model_name"], header["gain"], n_samples) == ("toy", 0.5, 1500)
    assert packets[1] == (4, [[[7], [8]], [[9], [10]]])


def test_the_page_shows_the_golden_bytes():
    rows = re.findall(r"^([0-9a-f]{2})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})\b", PAGE.read_text(), re.MULTILINE)
    position = 0
    for offset, text in rows:
        assert int(offset, 16) == position
        assert bytes.fromhex(text) == GOLDEN[position : position + len(bytes.fromhex(text))]
        position += len(bytes.fromhex(text))
    assert position == len(GOLDEN)
    assert {int(offset, 16) for offset, _ in rows} >= set(STARTS[:-1])


def test_the_pages_table_states_the_bounds():
    for name, (offset, least, most) in BOUNDS.items():
        row = rf"^\| {offset} \| u\d+ \| {name} \| {least}\.\.{most}[, ]"
        assert re.search(row, PAGE.read_text(), re.MULTILINE), row


def test_checksums_have_the_pages_check_values():
    assert crc16(b"123456789") == slow_dacz.crc16(b"123456789") == 0x29B1
    assert sealed(b"123456789")[-4:] == b"\x26\x39\xf4\xcb"
    assert slow_dacz.crc32(b"123456789") == 0xCBF43926


def test_version_1_is_frozen():
    assert SUFFIX == ".dacz"
    assert GOLDEN[8] == VERSION == 1
    assert "version 1, **frozen on" in PAGE.read_text()


@pytest.mark.parametrize(
    ("rate", "hop", "frames"),
    [
        (44100, 512, 88),
        (24000, 320, 72),
        (16000, 320, 48),
        (768000, 1, 65528),
        (8, 1, 8),
        (4, 1, 8),
        (3, 1, 1),
    ],
)
def test_default_packets_last_about_a_second(rate, hop, frames):
    assert default_packet_frames(rate, hop) == frames


def test_default_packets_do_not_depend_on_the_codebooks():
    shape = {"model_sampling_rate": 44100, "hop_length": 512, "codebook_size": 1024, "sampling_rate": 48000}
    frames = {
        Header("m", bytes(32), n_codebooks=k, channels=c, n_samples=None, **shape).packet_frames
        for k in (1, 9, 32)
        for c in (1, 2, 255)
    }
    assert frames == {88}


def overhead(seconds):
    """Of a mono 44.1 kHz file, in bytes: (all but the codes over the codes, the codes, all but the codes)."""
    n_frames = -(-seconds * 44100 // 512)
    header = Header("small-3", bytes(32), 44100, 512, 1024, 9, 44100, 1, seconds * 44100)
    codes = np.zeros((1, 9, n_frames), np.uint16)
    pure = n_frames * 9 * 10 / 8
    size = len(written(header, codes))
    return size / pure - 1, pure, size - pure


def test_overhead_of_one_second_packets_at_8_kbps():
    packet = 16 / (88 * 9 * 10 / 8)
    assert packet < 0.0162
    assert [round(100 * overhead(s)[0], 2) for s in (10, 15, 60)] == [2.90, 2.46, 1.82]
    for seconds in (10, 15, 60):
        share, pure, rest = overhead(seconds)
        row = f"| {int(pure + 0.5)} | {int(rest)} | {100 * share:.2f} % |"
        assert f"{seconds} s (" in PAGE.read_text()
        assert row in PAGE.read_text()
