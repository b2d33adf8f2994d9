"""The entropy coder against the slow one, and its cost."""

import io

import numpy as np
import pytest
import slow_dacz
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dacodec.container import Header, Reader, Writer, compiled, entropy, packet
from dacodec.container.entropy import PROBABILITY
from dacodec.container.header import max_samples
from dacodec.container.prior import prior_from_bytes, prior_to_bytes
from dacodec.container.rangecoder import RangeDecoder, encode
from dacodec.errors import FormatError, PriorError

needs_compiled = pytest.mark.skipif(not compiled.is_built(), reason="installed without a C++ compiler")


@pytest.fixture(params=[entropy, pytest.param(compiled, marks=needs_compiled)], ids=["numpy", "compiled"])
def coder(request, monkeypatch):
    """Each of the two coders in turn; files are written and read with it."""
    monkeypatch.setattr(packet, "coder", request.param)
    return request.param


either_coder = pytest.mark.usefixtures("coder")
# The fixture is meant to last for all examples.
hypothetical = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(data, prior=tiny.PRIOR, **options):
    return Reader(io.BytesIO(data), prior=prior, **options)


def kinds(data):
    """The kinds of the blocks of a file, and the codebooks that are coded anywhere."""
    header, position = slow_dacz.read_header(data)
    found, coded = "", set()
    while position < len(data):
        block, position = slow_dacz.read_block(data, position, header)
        found += block["kind"]
        coded |= set(block["savings"])
    return found, coded


def test_some_segments_are_coded_and_some_raw():
    assert kinds(tiny.CODED) == ("CCCCCCCCCIE", {0, 2})


@either_coder
@pytest.mark.parametrize("packets_ahead", [1, 4, 100])
def test_reads_what_was_written(packets_ahead):
    reader = read(tiny.CODED, packets_ahead=packets_ahead)
    codes = np.concatenate([packet.codes for packet in reader], axis=2)
    np.testing.assert_array_equal(codes, tiny.CODES)
    assert reader.n_samples == 2497


def test_the_slow_reader_reads_the_same():
    _, packets, _ = slow_dacz.read(tiny.CODED, tiny.PRIOR_BYTES)
    codes = np.concatenate([np.array(codes).swapaxes(0, 1) for _, codes in packets], axis=2)
    np.testing.assert_array_equal(codes, tiny.CODES)


@either_coder
@settings(hypothetical, max_examples=60)
@given(st.data())
def test_any_prior_codes_and_shape(data):
    width, channels, n_codebooks = (data.draw(st.integers(1, n)) for n in (6, 3, 5))
    codebook_size = data.draw(st.integers(max(2, 2 ** (width - 1) + 1), 2**width))
    prior_data = tiny.prior_bytes(width, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4)))
    prior = prior_from_bytes(prior_data)
    packet_frames, n_frames = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    header = Header(
        "m",
        bytes(32),
        100,
        10,
        codebook_size,
        n_codebooks,
        100,
        channels,
        None,
        packet_frames=packet_frames,
        prior_id=prior.id,
    )
    codes = tiny.repetitive_codes(channels, n_codebooks, n_frames, codebook_size, seed=width)
    n_samples = max_samples(header, n_frames)
    coded = tiny.written(header, codes, n_samples, prior)
    raw = tiny.written(Header(**{**vars(header), "prior_id": None}), codes, n_samples)
    assert len(coded) <= len(raw) + 12
    np.testing.assert_array_equal(read(coded, prior).read_codes(), codes)
    _, packets, _ = slow_dacz.read(coded, prior_data)
    slow = np.concatenate([np.array(codes).swapaxes(0, 1) for _, codes in packets], axis=2)
    np.testing.assert_array_equal(slow, codes)


def test_what_the_prior_does_not_like_costs_nothing():
    noise = np.random.default_rng(0).integers(15, size=tiny.CODES.shape)
    raw = Header(**{**vars(tiny.HEADER), "prior_id": None})
    assert len(tiny.written(tiny.HEADER, noise, 2497)) <= len(tiny.written(raw, noise, 2497)) + 12


def test_squash_is_the_pages():
    for z in (-5000, -2048, -2047, -1, 0, 1, 127, 128, 2047, 9999):
        assert PROBABILITY[min(max(z, -2047), 2047) + 2047] == slow_dacz.squash(z)
    exact = 65536 / (1 + np.exp(-np.arange(-2047, 2048) / 256))
    # The error of a straight line for the exponential's tail.
    assert np.abs(PROBABILITY / exact - 1).max() < 0.035
    assert PROBABILITY.min() == 22
    assert PROBABILITY.max() == 65513


PROBABILITIES = st.sampled_from([22, 23, 1000, 32768, 65513]) | st.integers(22, 65513)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), PROBABILITIES), max_size=300))
def test_range_coder(decisions):
    bits, probabilities = [bit for bit, _ in decisions], [p for _, p in decisions]
    data = encode(bits, probabilities)
    decoder = RangeDecoder([[data]])
    assert [int(decoder.decode(slice(0, 1), np.array([[p]]))[0, 0]) for p in probabilities] == bits
    ideal = -sum(np.log2((p if bit else 65536 - p) / 65536) for bit, p in decisions) / 8
    assert len(data) <= ideal * 1.0001 + 1.01
    assert not data.endswith(b"\0")


def test_carries_run_through():
    """Improbable zeros followed by many small steps: a carry passes through a byte of all ones."""
    random = np.random.default_rng(1)
    for _ in range(30):
        bits = (random.random(400) < 0.01).astype(int).tolist()
        probabilities = [22] * 400
        decoder = RangeDecoder([[encode(bits, probabilities)]])
        assert [int(decoder.decode(slice(0, 1), np.array([[22]]))[0, 0]) for _ in bits] == bits


@settings(hypothetical, max_examples=40)
@given(st.lists(st.binary(max_size=30), min_size=2, max_size=2))
def test_garbage_decodes_to_something_and_ends(coder, segments):
    """No bytes lead the decoder outside its arrays: damage that the CRC missed gives wrong codes, not a crash."""
    codes = np.zeros((2, 1, 40), np.uint16)
    coder.decode_segments(tiny.PRIOR, [[segment] for segment in segments], codes, 2)
    for k in (0, 1):
        below = [codes[:k, 0].reshape(k, 20, 2).swapaxes(1, 2)[j].tolist() for j in range(k)]
        slow = slow_dacz.decode_segment(slow_dacz.read_prior(tiny.PRIOR_BYTES), segments[k], below, 2, 20)
        assert codes[k, 0].reshape(20, 2).T.ravel().tolist() == slow


def test_a_segment_depends_on_lower_codebooks_only(coder):
    codes = tiny.CODES.transpose(1, 2, 0).reshape(4, 1, -1)[:3]
    changed = codes.copy()
    changed[2] = 0
    lower = coder.encode_segments(tiny.PRIOR, codes, 2)[:2]
    assert lower == coder.encode_segments(tiny.PRIOR, changed, 2)[:2]
    assert lower == coder.encode_segments(tiny.PRIOR, codes[:2], 2)


@needs_compiled
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_both_coders_do_the_same(data):
    width, channels, n_codebooks, n_packets = (data.draw(st.integers(1, n)) for n in (7, 3, 5, 3))
    prior = prior_from_bytes(tiny.prior_bytes(width, n_codebooks, data.draw(st.integers(1, 5))))
    n_frames, used = data.draw(st.integers(1, 50)), data.draw(st.integers(1, n_codebooks))
    codes = np.stack(
        [tiny.repetitive_codes(1, used, n_frames * channels, 2**width, seed)[0] for seed in range(n_packets)],
        axis=1,
    ).astype(np.uint16)
    segments = entropy.encode_segments(prior, codes, channels)
    assert compiled.encode_segments(prior, codes, channels) == segments
    raw = data.draw(st.lists(st.booleans(), min_size=used * n_packets, max_size=used * n_packets))
    raw = np.reshape(raw, (used, n_packets))
    segments = [[None if raw[k, p] else segments[k][p] for p in range(n_packets)] for k in range(used)]
    decoded = np.where(raw[..., None], codes, 0).astype(np.uint16)
    compiled.decode_segments(prior, segments, decoded, channels)
    np.testing.assert_array_equal(decoded, codes)


@needs_compiled
def test_the_compiled_coder_refuses_codes_that_the_prior_does_not_have():
    with pytest.raises(ValueError, match="code 16 for a prior of 4 bits"):
        compiled.encode_segments(tiny.PRIOR, np.full((3, 1, 10), 16), 1)


def test_without_the_prior_the_error_says_what_to_get():
    reader = Reader(io.BytesIO(tiny.CODED))
    assert reader.header == tiny.HEADER
    with pytest.raises(PriorError, match=f"'toy' are entropy-coded .*{tiny.PRIOR.id.hex()}.*codes.prior"):
        next(reader)
    with pytest.raises(PriorError, match="not here"):
        Writer(io.BytesIO(), tiny.HEADER)
    other = prior_from_bytes(tiny.prior_bytes(width=5))
    with pytest.raises(PriorError, match="another size"):
        Writer(io.BytesIO(), Header(**{**vars(tiny.HEADER), "prior_id": other.id}), prior=other)


def test_a_coded_packet_needs_a_prior_in_the_header():
    start = len(tiny.HEADER.to_bytes())
    header = Header(**{**vars(tiny.HEADER), "prior_id": None}).to_bytes()
    with pytest.raises(FormatError, match="names no prior") as caught:
        next(read(header + tiny.CODED[start:]))
    assert caught.value.offset == len(header) + 2


# The prior's file


def sealed(data):
    return data + slow_dacz.crc32(data).to_bytes(4, "little")


def test_a_prior_is_read_as_it_was_written():
    prior = tiny.PRIOR
    assert prior_to_bytes(prior.width, prior.fingerprint, prior.trees) == tiny.PRIOR_BYTES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (tiny.PRIOR_BYTES[:-1], "damaged"),
        (tiny.PRIOR_BYTES[:100] + b"\7" + tiny.PRIOR_BYTES[101:], "damaged"),
        (sealed(b"\x89DAQ" + tiny.PRIOR_BYTES[4:-4]), "not a prior"),
        (sealed(tiny.PRIOR_BYTES[:8] + b"\0" + tiny.PRIOR_BYTES[9:-4]), "not a prior"),
        (sealed(tiny.PRIOR_BYTES[:8] + b"\2" + tiny.PRIOR_BYTES[9:-4]), "not a prior"),
        (sealed(tiny.PRIOR_BYTES[:9] + b"\x11" + tiny.PRIOR_BYTES[10:-4]), "out of bounds"),
        (sealed(tiny.PRIOR_BYTES[:10] + b"\0" + tiny.PRIOR_BYTES[11:-4]), "out of bounds"),
        (sealed(tiny.PRIOR_BYTES[:11] + b"\x41" + tiny.PRIOR_BYTES[12:-4]), "out of bounds"),
        (sealed(tiny.PRIOR_BYTES[:-4] + b"\0"), "longer"),
        (sealed(tiny.PRIOR_BYTES[:-5]), "shorter"),
        (sealed(tiny.PRIOR_BYTES[:48] + b"\x21" + tiny.PRIOR_BYTES[49:-4]), "33 sources"),
        (sealed(tiny.PRIOR_BYTES[:49] + b"\0" + tiny.PRIOR_BYTES[50:-4]), "looks ahead"),
        (sealed(tiny.PRIOR_BYTES[:50] + b"\1" + tiny.PRIOR_BYTES[51:-4]), "looks ahead"),
        (sealed(tiny.PRIOR_BYTES[:49] + b"\x09" + tiny.PRIOR_BYTES[50:-4]), "looks ahead"),
        (sealed(tiny.PRIOR_BYTES[:51] + tiny.PRIOR_BYTES[53:55] + tiny.PRIOR_BYTES[53:-4]), "leaves"),
    ],
)
def test_a_prior_that_is_none_is_refused(data, message):
    with pytest.raises(PriorError, match=message):
        prior_from_bytes(data)


def test_what_is_too_long_to_be_coded_is_raw():
    header = Header(
        "m", bytes(32), 100_000, 10, 15, 1, 100, 1, None, packet_frames=2**13 + 1, prior_id=tiny.PRIOR.id
    )
    for n_frames, expected in ((2**13, "CE"), (2**13 + 1, "PE")):
        data = tiny.written(header, np.zeros((1, 1, n_frames), int), 1, index=False)
        assert kinds(data)[0] == expected
    np.testing.assert_array_equal(read(data).read_codes(), 0)
