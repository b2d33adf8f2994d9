"""Peeling is a removal: the rest equals encoding with fewer codebooks, byte for byte."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.container import Extension, peel
from dacodec.container.blocks import Segment
from dacodec.container.packet import chosen
from dacodec.errors import CodesError, FormatError


def peeled(data, n_codebooks):
    output = io.BytesIO()
    peel(io.BytesIO(data), output, n_codebooks)
    return output.getvalue()


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("prior_id", [None, tiny.PRIOR.id])
@pytest.mark.parametrize("fewer", [1, 2, 3, 4])
def test_as_if_encoded_so(fewer, prior_id, index):
    header = replace(tiny.HEADER, prior_id=prior_id, extensions=(Extension(0x9000, b"kept"),))
    full = tiny.written(header, tiny.CODES, 2497, index=index)
    lower = tiny.written(replace(header, n_codebooks=fewer), tiny.CODES[:, :fewer], 2497, index=index)
    assert peeled(full, fewer) == lower
    assert peeled(peeled(full, 3), min(fewer, 3)) == peeled(full, min(fewer, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(0, 99))
def test_any_number_of_codebooks(n_codebooks, fewer, packet_frames, seed):
    """Also more than seven: the mask then takes a second byte."""
    fewer = min(fewer, n_codebooks)
    prior = tiny.prior_from_bytes(tiny.prior_bytes(2, 12, 1, seed))
    header = replace(
        tiny.HEADER, codebook_size=4, n_codebooks=n_codebooks, packet_frames=packet_frames, prior_id=prior.id
    )
    codes = tiny.repetitive_codes(2, n_codebooks, 50, 4, seed)
    full = tiny.written(header, codes, 400, prior)
    lower = tiny.written(replace(header, n_codebooks=fewer), codes[:, :fewer], 400, prior)
    assert peeled(full, fewer) == lower


@pytest.mark.parametrize("n_codebooks", [0, 5, -1])
def test_only_what_is_there(n_codebooks):
    with pytest.raises(CodesError, match="give 1 to 4"):
        peeled(tiny.CODED, n_codebooks)


def test_a_damaged_file_is_not_peeled():
    with pytest.raises(FormatError, match="truncated"):
        peeled(tiny.CODED[:-1], 2)


def test_a_segment_is_coded_only_if_that_pays():
    """A first coded segment costs a byte for the mask and one for its saving, a later one a byte, an eighth two."""
    raw = [bytes(200)] * 9
    cases = {
        (198,): [False],
        (197,): [True],
        (200, 197): [False, True],
        (197, 199): [True, False],
        (197, 198): [True, True],
        (197, *[200] * 6, 198): [True, *[False] * 6, False],
        (197, *[200] * 6, 197): [True, *[False] * 6, True],
        (70, 71): [True, True],
        (300,): [False],
    }
    for lengths, expected in cases.items():
        segments = chosen(raw, [bytes([1]) * length for length in lengths])
        assert [is_coded for _, is_coded in segments[: len(lengths)]] == expected, lengths
        assert segments[len(lengths) :] == [Segment(raw[0], False)] * (9 - len(lengths))


def test_fewer_codebooks_are_fewer_bytes():
    sizes = [len(peeled(tiny.CODED, k)) for k in (1, 2, 3, 4)]
    assert np.all(np.diff(sizes) > 0)
