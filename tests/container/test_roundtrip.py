"""Round trips with all kinds of fields, portions and files."""

import io
import os
import threading

import numpy as np
import pytest
import slow_dacz
from golden_dacz import BLOCKS, CODES, GOLDEN, HEADER, STARTS
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.container import Extension, Header, Packet, Reader, Tag, Writer, from_datagram, to_datagram
from dacodec.container.format import MAX_PACKET_CODES, MAX_SAMPLES
from dacodec.container.header import max_samples
from dacodec.errors import CodesError, FormatError

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=63).filter(
    lambda name: name != "builtin"
)
FEW_OR_MANY = st.integers(1, 3) | st.integers(1, 255)
EXTENSIONS = st.lists(
    st.builds(Extension, st.just(0x8000) | st.integers(0x8003, 0xFFFF), st.binary(max_size=9)),
    max_size=3,
    unique_by=lambda extension: extension.type,
).map(lambda extensions: tuple(sorted(extensions)))

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from("\n\t"), max_size=20)
TAGS = st.lists(st.builds(Tag, NAMES, TEXT), max_size=3).map(tuple)


@st.composite
def headers(draw):
    rate, hop = draw(st.integers(1, 768_000)), draw(st.integers(1, 2**20) | st.just(512))
    channels, n_codebooks = draw(FEW_OR_MANY), draw(FEW_OR_MANY)
    most = min(10 * rate // hop, 2**16 - 1, MAX_PACKET_CODES // (channels * n_codebooks))
    return Header(
        model_name=draw(NAMES),
        fingerprint=draw(st.binary(min_size=32, max_size=32)),
        model_sampling_rate=rate,
        hop_length=hop,
        codebook_size=draw(st.integers(2, 2**16) | st.sampled_from([2**i for i in range(1, 17)])),
        n_codebooks=n_codebooks,
        sampling_rate=draw(st.integers(1, 768_000)),
        channels=channels,
        n_samples=draw(st.none() | st.integers(0, MAX_SAMPLES)),
        gain=draw(st.floats(2.0**-24, 2.0**24)),
        packet_frames=draw(st.integers(1, max(most, 1)) | st.integers(1, max(min(most, 5), 1))),
        channel_coding=draw(st.sampled_from([0, 1] if channels == 2 else [0])),
        prior_id=draw(st.none() | st.binary(min_size=8, max_size=8)),
        tags=draw(TAGS),
        speakers=draw(st.none() | st.just(2**channels - 1)) if channels <= 32 else None,
        extensions=draw(EXTENSIONS),
    )


def random_codes(header, n_frames, seed=0):
    shape = (header.channels, header.n_codebooks, n_frames)
    return np.random.default_rng(seed).integers(header.codebook_size, size=shape, dtype=np.uint16)


def replaced(header, **changes):
    return Header(**{**vars(header), **changes})


@settings(max_examples=150, deadline=None)
@given(headers())
def test_headers(header):
    data = header.to_bytes()
    assert Reader(io.BytesIO(data)).header == header
    slow, length = slow_dacz.read_header(data)
    assert length == len(data)
    assert Header(**slow) == header


@settings(max_examples=150, deadline=None)
@given(headers(), st.lists(st.integers(0, 12), max_size=4), st.sets(st.integers(0, 3)), st.data())
def test_files(header, portions, flushes, data):
    n_frames = sum(portions)
    n_samples = data.draw(st.integers(0, max_samples(header, n_frames)))
    header = replaced(header, n_samples=None if header.n_samples is None else n_samples, prior_id=None)
    codes = random_codes(header, n_frames)
    file = io.BytesIO()
    with Writer(file, header) as writer:
        start = 0
        for i, n in enumerate(portions):
            writer.write(codes[:, :, start : start + n])
            start += n
            assert writer.n_frames == start
            if i in flushes:
                writer.flush()
        writer.close(n_samples)
    reader = Reader(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(reader.read_codes(), codes)
    assert (reader.header, reader.n_frames, reader.n_samples) == (header, n_frames, n_samples)
    if codes.size < 20_000:
        check_against_slow_reader(file.getvalue(), codes, n_samples)


def check_against_slow_reader(data, codes, n_samples):
    _, packets, slow_samples = slow_dacz.read(data)
    assert slow_samples == n_samples
    fast = list(Reader(io.BytesIO(data)))
    assert [first for first, _ in packets] == [packet.first_frame for packet in fast]
    for (_, slow), packet in zip(packets, fast, strict=True):
        np.testing.assert_array_equal(np.array(slow).swapaxes(0, 1), packet.codes)


@pytest.mark.parametrize("codebook_size", [2, 3, 4, 5, 255, 256, 257, 1000, 1024, 4095, 32769, 65535, 65536])
def test_codebook_sizes_up_to_their_last_code(codebook_size):
    header = replaced(HEADER, codebook_size=codebook_size, n_samples=None)
    codes = random_codes(header, 11)
    codes[:, :, 3] = codebook_size - 1
    data = written(header, codes, n_samples=0)
    np.testing.assert_array_equal(Reader(io.BytesIO(data)).read_codes(), codes)
    check_against_slow_reader(data, codes, 0)


def written(header, codes, n_samples=None):
    file = io.BytesIO()
    writer = Writer(file, header)
    writer.write(codes)
    writer.close(n_samples)
    return file.getvalue()


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8))
def test_portions_leave_no_trace(portions):
    header = replaced(HEADER, n_samples=None)
    codes = random_codes(header, sum(portions))
    file = io.BytesIO()
    writer = Writer(file, header)
    start = 0
    for n in portions:
        portion = codes[:, :, start : start + n].astype(np.int64)
        writer.write(portion)
        portion[:] = 0  # the writer keeps its own copy
        start += n
    writer.close(0)
    assert file.getvalue() == written(header, codes, 0)


def test_every_packet_is_decodable_alone():
    """The datagram profile: the header from elsewhere, one block at a time, in any order."""
    for i, first_frame in ((2, 4), (1, 0)):
        packet = from_datagram(HEADER, BLOCKS[i])
        assert packet.first_frame == first_frame
        np.testing.assert_array_equal(
            packet.codes, np.array(CODES)[:, :, first_frame : first_frame + packet.n_frames]
        )
        assert to_datagram(HEADER, packet) == BLOCKS[i]
    relayed = Packet(4, packet.codes[:, :1])  # as sent by a relay that drops a codebook
    np.testing.assert_array_equal(
        from_datagram(HEADER, to_datagram(HEADER, relayed)).codes, packet.codes[:, :1]
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BLOCKS[3], "without a packet"),
        (BLOCKS[1] + b"\0", "follows the packet"),
        (BLOCKS[1][:-1], "truncated"),
        (BLOCKS[1][:-1] + b"\0", "damaged"),
        (b"", "truncated"),
    ],
)
def test_a_datagram_is_one_whole_packet(data, message):
    with pytest.raises(FormatError, match=message):
        from_datagram(HEADER, data)


# Kinds of files


class Trickle:
    """A pipe without seek or tell that gives a few bytes at a time."""

    def __init__(self, data, most):
        self._file, self._most = io.BytesIO(data), most

    def read(self, n):
        assert n > 0
        return self._file.read(min(n, self._most))


class Live:
    """A pipe in which reading beyond what was written would block for ever."""

    def __init__(self):
        self._data, self._position = b"", 0

    def write(self, data):
        self._data += data  # and returns None, as some files do

    def read(self, n):
        assert self._position + n <= len(self._data), "this read would block"
        self._position += n
        return self._data[self._position - n : self._position]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 1000])
def test_short_reads(most):
    reader = Reader(Trickle(GOLDEN, most))
    np.testing.assert_array_equal(reader.read_codes(), CODES)
    assert reader.n_samples == 1500


def test_a_packet_is_read_as_soon_as_it_is_flushed():
    pipe = Live()
    header = replaced(HEADER, n_samples=None)
    writer = Writer(pipe, header)
    reader = Reader(pipe)
    codes = random_codes(header, 9)
    for start, end in ((0, 1), (1, 3), (3, 9)):
        writer.write(codes[:, :, start:end])
        writer.flush()
        got = []
        while sum(p.n_frames for p in got) < end - start:
            got.append(next(reader))
        np.testing.assert_array_equal(np.concatenate([p.codes for p in got], 2), codes[:, :, start:end])
    assert reader.n_samples is None


def test_through_an_unbuffered_pipe():
    header = replaced(HEADER, n_samples=None, packet_frames=500)
    codes = random_codes(header, 40_000)  # more than a pipe holds, so that it is written in parts
    reading, writing = os.pipe()

    def send():
        with os.fdopen(writing, "wb", buffering=0) as file, Writer(file, header) as writer:
            writer.write(codes)
            writer.close(12345)

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(reading, "rb", buffering=0) as file:
        reader = Reader(file)
        np.testing.assert_array_equal(reader.read_codes(), codes)
    thread.join()
    assert reader.n_samples == 12345


def test_partial_writes_are_continued():
    class Bites(io.RawIOBase):
        data = b""

        def write(self, data):
            self.data += data[:5]
            return min(5, len(data))

    file = Bites()
    with Writer(file, HEADER) as writer:
        writer.write(np.array(CODES))
    assert file.data == GOLDEN


# The writer


def fail_after_writing(writer):
    writer.write(np.array(CODES))
    raise KeyError


def test_an_exception_leaves_no_end_mark():
    file = io.BytesIO()
    writer = Writer(file, HEADER)
    with pytest.raises(KeyError), writer:
        fail_after_writing(writer)
    assert file.getvalue() == GOLDEN[: STARTS[2]]
    reader = Reader(io.BytesIO(file.getvalue()))
    assert next(reader).n_frames == 4
    with pytest.raises(FormatError, match="truncated"):
        next(reader)


def test_closing_twice_writes_once_and_writing_then_fails():
    file = io.BytesIO()
    writer = Writer(file, HEADER)
    writer.write(np.array(CODES))
    writer.close()
    writer.close()
    assert file.getvalue() == GOLDEN
    for call in (writer.flush, lambda: writer.write(np.array(CODES))):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert file.getvalue() == GOLDEN
    assert not file.closed


@pytest.mark.parametrize(
    ("known", "given_", "message"),
    [
        (None, None, "must"),
        (1500, 1499, "header says 1500"),
        (None, 1921, "0..1920"),
        (1921, None, "0..1920"),
        (None, -1, "0..1920"),
    ],
)
def test_the_number_of_samples_must_be_known_and_fit(known, given_, message):
    file = io.BytesIO()
    writer = Writer(file, replaced(HEADER, n_samples=known))
    writer.write(np.array(CODES))
    with pytest.raises(FormatError, match=message):
        writer.close(given_)
    writer_end = file.getvalue()
    assert len(writer_end) == STARTS[2]  # no end mark


def test_samples_stay_countable_in_every_language():
    header = replaced(HEADER, model_sampling_rate=1, hop_length=2**20, sampling_rate=768_000, packet_frames=1)
    assert max_samples(header, 10_000) == 10_001 * 2**20 * 768_000 < 2**53
    assert max_samples(header, 2**32 - 1) == 2**53 - 1


def test_no_frames_stand_for_no_samples():
    data = written(replaced(HEADER, n_samples=0), np.empty((2, 2, 0), np.uint16))
    assert len(data) == STARTS[1] + 28
    assert Reader(io.BytesIO(data)).read_codes().shape == (2, 2, 0)
    slow_dacz.read(data)
    with pytest.raises(FormatError, match=r"0\.\.0"):
        written(replaced(HEADER, n_samples=1), np.empty((2, 2, 0), np.uint16))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 2), np.uint16), r"shape \(2, 2\)"),
        (np.zeros((1, 2, 3), np.uint16), r"\[2, 2, any\]"),
        (np.zeros((2, 3, 3), np.uint16), r"\[2, 2, any\]"),
        (np.zeros((2, 2, 3)), "integers, got float64"),
        (np.zeros((2, 2, 3), bool), "integers, got bool"),
        (
            np.array([[[0, 0], [0, 0]], [[0, 0], [0, 1024]]]),
            r"code 1024 at .* \[1, 1, 1\] is not in 0\.\.1023",
        ),
        (np.array([[[0, -1], [0, 0]], [[0, 0], [0, 0]]]), r"code -1 at .* \[0, 0, 1\]"),
        (np.full((2, 2, 1), 65536), "code 65536"),
    ],
)
def test_codes_that_do_not_fit_are_refused_and_change_nothing(codes, message):
    file = io.BytesIO()
    with Writer(file, HEADER) as writer:
        with pytest.raises(CodesError, match=message):
            writer.write(codes)
        writer.write(np.array(CODES))
    assert file.getvalue() == GOLDEN


def test_a_file_is_not_longer_than_its_frame_numbers():
    writer = Writer(io.BytesIO(), HEADER)
    writer._out.n_frames = 2**32 - 5
    with pytest.raises(FormatError, match="4294967295 frames"):
        writer.write(np.array(CODES))
    reader = Reader(io.BytesIO(GOLDEN[: STARTS[1]] + packet_at(2**32 - 5, 4) + packet_at(2**32 - 1, 1)))
    reader._sequence.n_frames = 2**32 - 5
    assert next(reader).n_frames == 4
    with pytest.raises(FormatError, match="more than 4294967295 frames"):
        next(reader)


def packet_at(first_frame, n_frames):
    return to_datagram(HEADER, Packet(first_frame, np.zeros((2, 2, n_frames), np.uint16)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_name": ""},
        {"model_name": "builtin"},
        {"model_name": "a\x1b[2J"},
        {"model_name": "é" * 128},
        {"model_name": "\ud800"},
        {"fingerprint": bytes(31)},
        {"fingerprint": "0" * 32},
        {"channels": 0},
        {"channels": 256},
        {"codebook_size": 1},
        {"hop_length": 0, "packet_frames": None},
        {"model_sampling_rate": 0, "packet_frames": None},
        {"n_samples": -1},
        {"n_samples": 2**53},
        {"gain": float("nan")},
        {"gain": 1e300},
        {"packet_frames": 0},
        {"packet_frames": 501},
        {"extensions": [(0x8000, b""), (0x8000, b"")]},
        {"extensions": [(0x10000, b"")]},
        {"extensions": [(0x7FFF, b"")]},
        {"extensions": [(0x8001, b"")]},
        {"prior_id": bytes(7)},
        {"channel_coding": 2},
        {"channel_coding": 1, "channels": 3},
        {"speakers": 0},
        {"speakers": 7},
        {"speakers": 2**33 + 1},
        {"tags": [("", "a")]},
        {"tags": [("k" * 256, "a")]},
        {"tags": [("k", "a" * 65536)]},
        {"tags": [("k", "\x1b[2J")]},
        {"tags": [("k\n", "a")]},
        {"tags": [("k", "\ud800")]},
        {"tags": [("k", "a" * 40_000), ("k", "a" * 40_000)]},
        {"extensions": [(0x8000, bytes(40_000)), (0x8001, bytes(40_000))]},
    ],
)
def test_a_header_that_no_file_can_have_cannot_be_made(wrong):
    with pytest.raises(FormatError) as caught:
        replaced(HEADER, **wrong)
    assert caught.value.offset is None


def test_numbers_must_be_integers_but_may_be_numpys():
    with pytest.raises(TypeError):
        replaced(HEADER, channels=2.0)
    header = replaced(HEADER, channels=np.int64(2), codebook_size=np.uint32(1024), n_samples=np.int64(1500))
    assert written(header, np.array(CODES)) == GOLDEN


def test_the_gain_is_held_as_the_file_holds_it():
    assert replaced(HEADER, gain=0.1).gain == float(np.float32(0.1)) != 0.1
