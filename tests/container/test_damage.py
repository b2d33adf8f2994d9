"""Whatever is wrong with a file, the strict reader reports it, with the position and little memory."""

import io
import pickle
import tracemalloc

import numpy as np
import pytest
import slow_dacz
import tiny
from golden_dacz import BLOCKS, GOLDEN, HEADER, STARTS
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.container import Extension, Header, Reader, Writer
from dacodec.container.prior import prior_from_bytes
from dacodec.errors import FormatError


def live_file():
    """A file of other choices than the golden one: unknown length, an odd codebook size, an extension."""
    header = Header(
        "m",
        bytes(32),
        24000,
        320,
        codebook_size=5,
        n_codebooks=3,
        sampling_rate=48000,
        channels=1,
        n_samples=None,
        packet_frames=3,
        extensions=(Extension(0x9001, b"hello"),),
    )
    file = io.BytesIO()
    with Writer(file, header) as writer:
        writer.write(np.arange(12).reshape(1, 3, 4) % 5)
        writer.flush()
        writer.write(np.arange(3).reshape(1, 3, 1))
        writer.close(3000)
    return file.getvalue()


FILES = {"golden": GOLDEN, "live": live_file()}


def read(data):
    """(packets, None), or the packets before the error and the error."""
    packets = []
    try:
        for packet in Reader(io.BytesIO(data)):
            packets.append(packet)
    except FormatError as error:
        return packets, error
    return packets, None


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_files_are_fine(name):
    assert read(FILES[name])[1] is None
    slow_dacz.read(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_a_cut_anywhere_is_reported_where_it_is(name):
    for length in range(len(FILES[name])):
        _, error = read(FILES[name][:length])
        assert "the file is truncated" in str(error)
        assert error.offset == length


def test_whole_packets_before_the_cut_are_given():
    for length in range(len(GOLDEN)):
        packets, _ = read(GOLDEN[:length])
        assert len(packets) == (length >= STARTS[2]) + (length >= STARTS[3])


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_seen(name):
    data = FILES[name]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        _, error = read(bytes(flipped))
        assert error is not None, f"bit {bit % 8} of byte {bit // 8}"
        # Damage is never reported after the block that it is in.
        assert 0 <= error.offset <= len(data)


def test_damage_loses_nothing_before_it():
    for byte in range(STARTS[2], len(GOLDEN)):
        flipped = bytearray(GOLDEN)
        flipped[byte] ^= 0xFF
        packets, error = read(bytes(flipped))
        assert len(packets) == (byte >= STARTS[3]) + 1
        assert STARTS[len(packets) + 1] <= error.offset <= byte


@settings(deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_other_damage_is_seen(name, draw):
    """Bytes changed, lost, inserted or repeated, in stretches."""
    data = FILES[name]
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, min(start + 40, len(data))))
    new = draw.draw(st.binary(max_size=40) | st.just(data[start:end] * 2))
    damaged = data[:start] + new + data[end:]
    if damaged != data:
        assert read(damaged)[1] is not None
        with pytest.raises(slow_dacz.Refused):
            slow_dacz.read(damaged)


@pytest.mark.parametrize(
    "order", [(0, 2, 1, 3), (0, 1, 1, 2, 3), (0, 1, 3), (0, 2, 3), (0, 3), (0, 0, 1, 2, 3), (0, 1, 3, 2)]
)
def test_blocks_out_of_order_are_seen(order):
    data = b"".join(BLOCKS[i] for i in order)
    assert read(data)[1] is not None
    with pytest.raises(slow_dacz.Refused):
        slow_dacz.read(data)


def test_after_an_error_reading_on_never_looks_like_the_end():
    for byte in range(STARTS[1], len(GOLDEN)):
        flipped = bytearray(GOLDEN)
        flipped[byte] ^= 0x10
        reader = Reader(io.BytesIO(bytes(flipped)))
        for _ in range(2):
            with pytest.raises(FormatError):
                list(reader)
        assert reader._sequence._end_samples is None


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the file's code was run",)


def test_a_pickle_is_not_loaded():
    file = io.BytesIO()
    np.save(file, np.array({"codes": Bomb()}, dtype=object), allow_pickle=True)
    for data in (file.getvalue(), pickle.dumps(Bomb())):
        with pytest.raises(FormatError, match=r"Descript|not a \.dacz file") as caught:
            Reader(io.BytesIO(data))
        assert caught.value.offset == 0


@pytest.mark.parametrize(
    "mangle",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.decode("latin-1").encode("utf-8"),
        lambda data: bytes(byte & 0x7F for byte in data),
    ],
)
def test_a_transfer_as_text_is_recognised(mangle):
    with pytest.raises(FormatError, match="transfer it as binary"):
        Reader(io.BytesIO(mangle(GOLDEN)))


# Memory. Limits are a few times what was measured, and far below the upper bound of 64 MB.


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_of_refusal(data):
    def refuse():
        assert read(data)[1] is not None

    return peak_of(refuse)


LARGEST = {
    "n_codebooks": 1,
    "channels": 16,
    "packet_frames": 65535,
    "model_sampling_rate": 768000,
    "hop_length": 1,
}


@pytest.mark.parametrize("present", [0, 1000])
@pytest.mark.parametrize("codebook_size", [2, 1024, 65536])
def test_a_packet_that_is_not_there_takes_no_memory(codebook_size, present):
    head = slow_dacz.header_bytes(codebook_size=codebook_size, **LARGEST)
    block = slow_dacz.block_bytes(b"P", 1, 65535, 0, bytes(present))[:-4]
    assert peak_of_refusal(head + block) < 200_000


@pytest.mark.parametrize("codebook_size", [2, 1024, 65536])
def test_the_largest_packet_takes_a_bounded_amount(codebook_size):
    n_codes = 16 * 65535
    width = slow_dacz.code_width(codebook_size)
    header = Header("m", bytes(32), 768000, 1, codebook_size, 1, 8000, 16, 0, packet_frames=65535)
    file = io.BytesIO()
    with Writer(file, header) as writer:
        writer.write(np.zeros((16, 1, 65535), np.uint16))
    assert len(file.getvalue()) > n_codes * width // 8
    file.seek(0)
    assert peak_of(lambda: list(Reader(file))) < 40_000_000


def test_many_small_coded_packets_take_a_bounded_amount():
    """Each has its own tree while it is decoded: here 2048 of 8 KiB per packet."""
    prior = prior_from_bytes(tiny.prior_bytes(width=10, n_codebooks=2, dimensions=1))
    header = Header("m", bytes(32), 100, 10, 1024, 2, 100, 1, None, packet_frames=1, prior_id=prior.id)
    packets = [slow_dacz.block_bytes(b"C", 2, 1, i, b"\3\2\2") for i in range(2000)]
    file = io.BytesIO(header.to_bytes() + b"".join(packets) + slow_dacz.end_bytes(2000, 0))
    assert peak_of(lambda: Reader(file, prior=prior).read_codes()) < 20_000_000


def test_a_claim_of_endless_samples_takes_no_memory():
    for n_samples in (2**53 - 1, 2**64 - 1):
        header = slow_dacz.header_bytes(n_samples=n_samples)
        assert peak_of_refusal(header + BLOCKS[1] + slow_dacz.end_bytes(4, 2**53 - 1)) < 200_000


def test_a_header_of_the_largest_size():
    name = b"toy"
    rest = 65535 - len(slow_dacz.header_bytes(model_name=name)) - 4
    extension = (0x8000).to_bytes(2, "little") + rest.to_bytes(2, "little") + bytes(rest)
    data = slow_dacz.header_bytes(model_name=name, extensions=extension)
    assert len(data) == 65535
    header = Reader(io.BytesIO(data)).header
    assert header.extensions == (Extension(0x8000, bytes(rest)),)
    assert header.to_bytes() == data
    with pytest.raises(FormatError, match="over 65535"):
        Header(**{**vars(HEADER), "extensions": [Extension(0x8000, bytes(rest + 1))]})
