"""Damaged files: what is lost, what is not, and timing is kept. See docs/format.md, "Damage"."""

import io
from dataclasses import replace

import attack
import numpy as np
import pytest
import slow_dacz
import tiny
from golden_dacz import BLOCKS, CODES, GOLDEN, HEADER, STARTS
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.container import Damage, Packet, Reader, repair, to_datagram, verify
from dacodec.errors import FormatError

SMALL = replace(
    tiny.HEADER, n_codebooks=2, packet_frames=10, channels=1, channel_coding=0, speakers=4, tags=()
)
SMALL_CODES = tiny.CODES[:1, :2, :40]
SMALL_FILE = tiny.written(SMALL, SMALL_CODES, 400)


def starts_of(data):
    header, position = slow_dacz.read_header(data)
    starts = []
    while position < len(data):
        starts.append(position)
        _, position = slow_dacz.read_block(data, position, header)
    return [*starts, len(data)]


def concealed(data, **options):
    """Reader, read to its end, and codes with -1 where they were lost."""
    reader = Reader(io.BytesIO(data), prior=tiny.PRIOR, conceal=True, packets_ahead=3, **options)
    parts = []
    for packet in reader:
        assert packet.first_frame == sum(part.shape[2] for part in parts)
        parts.append(np.where(packet.is_lost, -1, packet.codes.astype(int)))
    nothing = np.empty((reader.header.channels, reader.header.n_codebooks, 0), int)
    return reader, np.concatenate([nothing, *parts], 2)


@pytest.mark.parametrize(
    ("data", "codes"), [(GOLDEN, CODES), (SMALL_FILE, SMALL_CODES), (tiny.CODED, tiny.CODES)]
)
def test_a_sound_file_is_read_as_ever(data, codes):
    reader, got = concealed(data)
    np.testing.assert_array_equal(got, codes)
    assert reader.damages == []


@pytest.mark.parametrize("data", [GOLDEN, SMALL_FILE], ids=["golden", "coded"])
def test_a_flip_of_any_bit_loses_its_packet_only(data):
    """Damage in the header loses everything, in a packet that packet, in index or end mark nothing."""
    _, codes = concealed(data)
    starts = starts_of(data)
    frames = np.cumsum([0, *(p.n_frames for p in Reader(io.BytesIO(data), prior=tiny.PRIOR))])
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        if bit // 8 < starts[0]:
            with pytest.raises(FormatError):
                concealed(bytes(flipped))
            continue
        reader, got = concealed(bytes(flipped))
        block = np.searchsorted(starts, bit // 8, "right") - 1
        expected = codes.copy()
        if block < len(frames) - 1:
            expected[:, :, frames[block] : frames[block + 1]] = -1
        known = reader.header.n_samples is not None or block < len(starts) - 2
        if not known and block == len(frames) - 2:
            continue  # without an end mark the last packet cannot be missed
        np.testing.assert_array_equal(got, expected)
        assert len(reader.damages) == 1
        assert reader.damages[0].offset == starts[block]


@pytest.mark.parametrize("data", [GOLDEN, SMALL_FILE], ids=["golden", "coded"])
def test_a_cut_anywhere_leaves_the_packets_before_it(data):
    _, codes = concealed(data)
    starts = starts_of(data)
    ends = np.cumsum([0, *(p.n_frames for p in Reader(io.BytesIO(data), prior=tiny.PRIOR))])
    for length in range(starts[0], len(data)):
        reader, got = concealed(data[:length])
        n_whole = min(np.searchsorted(starts, length, "right") - 1, len(ends) - 1)
        np.testing.assert_array_equal(got, codes[:, :, : ends[n_whole]])
        (damage,) = reader.damages
        assert "truncated" in damage.reason
        header = reader.header
        present = got.shape[2] * header.hop_length * header.sampling_rate // header.model_sampling_rate
        assert reader.n_samples == (present if header.n_samples is None else min(present, header.n_samples))


def test_lost_frames_repeat_the_one_before_them():
    lost_second = BLOCKS[0] + BLOCKS[2] + BLOCKS[3]
    first, second = Reader(io.BytesIO(lost_second), conceal=True)
    assert (first.is_lost, second.is_lost) == (True, False)
    # There is no frame before them to repeat.
    np.testing.assert_array_equal(first.codes, np.repeat(second.codes, 4, axis=2))
    lost_last = BLOCKS[0] + BLOCKS[1] + BLOCKS[3]
    reader = Reader(io.BytesIO(lost_last), conceal=True)
    _, made_up = reader
    np.testing.assert_array_equal(made_up.codes, np.array(CODES)[:, :, 3:4])
    assert reader.damages == [Damage(STARTS[2], "packets are missing", 4, 1)]
    assert reader.n_samples == 1500


def test_everything_lost_is_still_the_same_time():
    (packet, more) = Reader(io.BytesIO(BLOCKS[0] + BLOCKS[3]), conceal=True)
    assert packet.is_lost
    assert (packet.n_frames, more.n_frames) == (4, 1)
    assert not packet.codes.any()


def test_garbage_between_packets_costs_nothing():
    garbage = b"\xda\xc5P" + bytes(range(100)) + b"\xda"
    data = BLOCKS[0] + BLOCKS[1] + garbage + BLOCKS[2] + garbage + BLOCKS[3] + garbage
    reader, got = concealed(data)
    np.testing.assert_array_equal(got, CODES)
    assert [damage.n_frames for damage in reader.damages] == [0, 0]
    (beyond,) = verify(io.BytesIO(GOLDEN + garbage)).damages
    assert beyond == Damage(len(GOLDEN), "something follows the end mark (at byte 171)", 5, 0)


def test_a_packet_inside_a_damaged_one_is_found():
    """The sync word of a damaged packet may be anything: the search continues right after it."""
    data = BLOCKS[0] + BLOCKS[1][:20] + BLOCKS[2] + BLOCKS[3]
    _, got = concealed(data)
    np.testing.assert_array_equal(got[:, :, 4:], np.array(CODES)[:, :, 4:])


def test_repeated_packets_are_passed_over():
    _, got = concealed(b"".join(BLOCKS[i] for i in (0, 1, 1, 2, 1, 2, 3)))
    np.testing.assert_array_equal(got, CODES)


@pytest.mark.parametrize("n_samples", [None, 1500])
def test_a_packet_far_away_is_not_believed(n_samples):
    """A gap of over 2^16 frames, or beyond the samples known."""
    header = replace(HEADER, n_samples=n_samples)
    far = to_datagram(header, Packet(2**16 + 5 if n_samples is None else 9, np.zeros((2, 2, 1), int)))
    reader, got = concealed(header.to_bytes() + BLOCKS[1] + far + BLOCKS[2] + BLOCKS[3])
    np.testing.assert_array_equal(got, CODES)
    assert [damage.n_frames for damage in reader.damages] == [0]


def test_what_cannot_be_of_this_file_is_not_believed():
    one = to_datagram(HEADER, Packet(4, np.zeros((2, 1, 1), int)))  # another number of codebooks
    late = to_datagram(HEADER, Packet(2**32 - 1, np.zeros((2, 2, 1), int)))
    _, got = concealed(BLOCKS[0] + BLOCKS[1] + one + late + BLOCKS[2] + BLOCKS[3])
    np.testing.assert_array_equal(got, CODES)


def test_codes_that_cannot_be_are_lost_even_under_a_right_crc():
    header = replace(HEADER, codebook_size=1000)
    bad = slow_dacz.block_bytes(
        b"P", 2, 4, 4, slow_dacz.segment([0] * 8, 10) + slow_dacz.segment([1000] * 8, 10)
    )
    good = [to_datagram(header, Packet(first, np.ones((2, 2, 4), int))) for first in (0, 8)]
    data = replace(header, n_samples=0).to_bytes() + good[0] + bad + good[1] + slow_dacz.end_bytes(12, 0)
    reader, got = concealed(data)
    assert got[0, 0].tolist() == [1] * 4 + [-1] * 4 + [1] * 4
    (damage,) = reader.damages
    assert (damage.first_frame, damage.n_frames) == (4, 4)


def test_a_header_from_elsewhere():
    data = bytes(len(BLOCKS[0])) + GOLDEN[len(BLOCKS[0]) :]
    with pytest.raises(FormatError):
        concealed(data)
    reader, got = concealed(data, header=HEADER)
    np.testing.assert_array_equal(got, CODES)
    assert [damage.n_frames for damage in reader.damages] == [0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_of_any_kind(data):
    start = data.draw(st.integers(0, len(SMALL_FILE)))
    end = data.draw(st.integers(start, min(start + 60, len(SMALL_FILE))))
    new = data.draw(st.binary(max_size=60) | st.just(SMALL_FILE[start:end] * 2))
    attack.attack(SMALL_FILE[:start] + new + SMALL_FILE[end:])


# Verify and repair


def test_verify_tells_all_that_is_wrong():
    starts = starts_of(tiny.CODED)
    data = bytearray(tiny.CODED)
    for block in (1, 5):
        data[starts[block] + 20] ^= 1
    verdict = verify(io.BytesIO(data), tiny.PRIOR)
    assert [(d.offset, d.first_frame, d.n_frames) for d in verdict.damages] == [
        (starts[1], 30, 30),
        (starts[5], 150, 30),
    ]
    assert (verdict.n_frames, verdict.n_samples, verdict.lost_frames) == (250, 2497, 60)
    assert verdict.codes_checked


def test_verify_does_without_the_prior():
    verdict = verify(io.BytesIO(tiny.CODED))
    assert (verdict.damages, verdict.codes_checked, verdict.n_frames) == ([], False, 250)


@pytest.mark.parametrize("data", [GOLDEN, tiny.CODED, SMALL_FILE], ids=["golden", "large", "small"])
def test_repairing_a_sound_file_changes_nothing(data):
    output = io.BytesIO()
    assert repair(io.BytesIO(data), output, prior=tiny.PRIOR) == []
    assert output.getvalue() == data


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_repaired_file_is_sound_and_keeps_what_was(data):
    start = data.draw(st.integers(len(SMALL.to_bytes()), len(SMALL_FILE)))
    end = data.draw(st.integers(start, min(start + 60, len(SMALL_FILE))))
    damaged = SMALL_FILE[:start] + data.draw(st.binary(max_size=60)) + SMALL_FILE[end:]
    output = io.BytesIO()
    repair(io.BytesIO(damaged), output, prior=tiny.PRIOR)
    output.seek(0)
    assert verify(output, tiny.PRIOR).damages == []
    output.seek(0)
    codes = Reader(output, prior=tiny.PRIOR).read_codes().astype(int)
    _, kept = concealed(damaged)
    assert codes.shape == kept.shape
    np.testing.assert_array_equal(np.where(kept < 0, -1, codes), kept)


def test_repair_of_a_known_length_says_the_new_one():
    output = io.BytesIO()
    repair(io.BytesIO(GOLDEN[: STARTS[2]]), output)
    output.seek(0)
    reader = Reader(output)
    reader.read_codes()
    assert reader.header.n_samples == reader.n_samples == 1280
