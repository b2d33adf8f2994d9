"""Any stretch of a file, with or without an index, strictly or not."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import slow_dacz
import tiny
from golden_dacz import BLOCKS, GOLDEN

from dacodec.container import Reader, Writer
from dacodec.container import index as index_module
from dacodec.container.header import max_samples
from dacodec.container.index import IndexBuilder
from dacodec.errors import FormatError

HEADER = replace(tiny.HEADER, n_codebooks=2, packet_frames=7, tags=())
CODES = tiny.repetitive_codes(2, 2, 900, 15)
INDEXED = tiny.written(HEADER, CODES, 9000)
PLAIN = tiny.written(HEADER, CODES, 9000, index=False)
FILES = {"indexed": INDEXED, "plain": PLAIN}


class Counted(io.BytesIO):
    """A file that counts the bytes read from it."""

    n_read = 0

    def read(self, n):
        data = super().read(n)
        self.n_read += len(data)
        return data


def stretch(file, start, stop, **options):
    reader = Reader(file, prior=tiny.PRIOR, **options)
    packets = list(reader.packets(start, stop))
    if packets:
        assert packets[0].first_frame == start
    return np.concatenate([CODES[:, :, :0], *(packet.codes for packet in packets)], axis=2)


@pytest.mark.parametrize("conceal", [False, True])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, 900), (3, 5), (6, 8), (7, 14), (100, 101), (699, 850), (898, 2000), (900, 901)],
)
def test_any_stretch(name, start, stop, conceal):
    got = stretch(io.BytesIO(FILES[name]), start, stop, conceal=conceal)
    np.testing.assert_array_equal(got, CODES[:, :, start:stop])


def test_a_file_that_does_not_begin_at_its_first_byte():
    file = io.BytesIO(b"before" + INDEXED)
    file.seek(6)
    np.testing.assert_array_equal(stretch(file, 500, 510), CODES[:, :, 500:510])


def test_an_index_saves_reading():
    reads = {}
    for name, data in FILES.items():
        file = Counted(data)
        stretch(file, 850, 860)
        reads[name] = file.n_read
    header, index = len(HEADER.to_bytes()), len(INDEXED) - len(PLAIN)
    ten_seconds = 100 / 900 * len(PLAIN)
    assert reads["indexed"] < header + index + 3 * ten_seconds
    assert reads["plain"] > 0.9 * len(PLAIN)


def test_a_pipe_is_read_through():
    class Pipe:
        read = staticmethod(io.BytesIO(INDEXED).read)

    np.testing.assert_array_equal(stretch(Pipe(), 500, 510), CODES[:, :, 500:510])


def test_forth_and_back_in_one_reader():
    reader = Reader(io.BytesIO(INDEXED), prior=tiny.PRIOR)
    for start in (800, 3, 420, 0):
        codes = np.concatenate([packet.codes for packet in reader.packets(start, start + 9)], axis=2)
        np.testing.assert_array_equal(codes, CODES[:, :, start : start + 9])


@pytest.mark.parametrize("name", FILES)
def test_a_recording_that_was_cut_off(name):
    data = FILES[name][: len(PLAIN) // 2]
    np.testing.assert_array_equal(stretch(io.BytesIO(data), 300, 310), CODES[:, :, 300:310])
    with pytest.raises(FormatError, match="truncated"):
        stretch(io.BytesIO(data), 800, 810)
    assert stretch(io.BytesIO(data), 800, 810, conceal=True).shape[2] == 0


def test_damage_before_and_behind_does_not_matter():
    """A strict reader does not look at what it does not need; with conceal, damage is skipped."""
    header, position = slow_dacz.read_header(INDEXED)
    starts = []
    while position < len(INDEXED):
        starts.append(position)
        _, position = slow_dacz.read_block(INDEXED, position, header)
    data = bytearray(INDEXED)
    data[starts[2] + 14] ^= 1  # frames 14 to 20
    data[starts[-3] + 14] ^= 1  # near the end
    np.testing.assert_array_equal(stretch(io.BytesIO(data), 500, 510), CODES[:, :, 500:510])
    with pytest.raises(FormatError):
        stretch(io.BytesIO(data), 10, 30)
    packets = list(Reader(io.BytesIO(data), prior=tiny.PRIOR, conceal=True).packets(10, 30))
    assert [(p.first_frame, p.n_frames, p.is_lost) for p in packets] == [
        (10, 4, False),
        (14, 7, True),
        (21, 7, False),
        (28, 2, False),
    ]
    data[starts[60] : starts[60] + 2] = b"xx"  # a head on the way
    np.testing.assert_array_equal(stretch(io.BytesIO(data), 450, 460, conceal=True), CODES[:, :, 450:460])


def test_an_index_that_leads_astray():
    wrong = slow_dacz.index_bytes(4, [(0, len(BLOCKS[0]) + 1)])
    end = slow_dacz.end_bytes(4, 1500, index_length=len(wrong))
    for data, message in (
        (BLOCKS[0] + BLOCKS[1] + wrong + end, "should start here"),
        (BLOCKS[0] + BLOCKS[1] + end, "should start here"),
        (BLOCKS[0] + slow_dacz.end_bytes(0, 0, index_length=999), "does not fit"),
        (BLOCKS[0] + BLOCKS[1] + slow_dacz.end_bytes(4, 1500, index_length=len(BLOCKS[1])), "index should"),
    ):
        with pytest.raises(FormatError, match=message):
            list(Reader(io.BytesIO(data)).packets(0, 1))
    astray = io.BytesIO(BLOCKS[0] + BLOCKS[1] + end)
    (packet,) = Reader(astray, conceal=True).packets(1, 3)
    assert packet.first_frame == 1


def test_an_index_of_a_week_is_thinned(monkeypatch):
    """Every second entry is dropped, and the distance doubles: with a limit of 4 entries instead of 65535."""
    monkeypatch.setattr(index_module, "MAX_INDEX_ENTRIES", 4)
    builder = IndexBuilder(replace(HEADER, packet_frames=100))
    for i in range(20):
        builder.add(100 * i, 1000 + i)
    assert [entry.first_frame for entry in builder.entries] == [0, 800, 1600]


def test_entries_are_ten_seconds_apart():
    reader = Reader(io.BytesIO(INDEXED), prior=tiny.PRIOR)
    assert not reader.has_index
    reader.read_codes()
    assert reader.has_index
    (count,) = struct.unpack_from("<H", INDEXED, INDEXED.index(b"\xda\xc5I") + 4)
    assert count == len(range(0, 900, 105))  # packets of 7 frames: 105 is the first multiple beyond 100


def test_no_packets_no_index():
    file = io.BytesIO()
    writer = Writer(file, HEADER, prior=tiny.PRIOR, index=True)
    writer.close(0)
    assert max_samples(HEADER, 0) == 0
    assert len(file.getvalue()) == len(HEADER.to_bytes()) + 28
    assert list(Reader(io.BytesIO(file.getvalue())).packets(0, 10)) == []
    assert len(GOLDEN) == len(b"".join(BLOCKS))
