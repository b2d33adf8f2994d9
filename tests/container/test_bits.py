"""Packing against the page's definition: a segment is one long little-endian integer."""

import numpy as np
import pytest
import slow_dacz
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.container.bits import has_clear_padding, pack, unpack


@st.composite
def widths_and_codes(draw):
    width = draw(st.integers(1, 16))
    return width, draw(st.lists(st.integers(0, 2**width - 1), max_size=70))


@settings(deadline=None)
@given(widths_and_codes())
def test_packs_and_unpacks_as_one_integer(case):
    width, codes = case
    data = pack(np.array(codes, np.uint16), width)
    assert data == slow_dacz.segment(codes, width)
    assert unpack(data, width, len(codes)).tolist() == codes
    assert has_clear_padding(data, width, len(codes))


@pytest.mark.parametrize("width", range(1, 17))
@pytest.mark.parametrize("n_codes", [1, 3, 8])
def test_every_padding_bit_is_seen(width, n_codes):
    data = pack(np.full(n_codes, 2**width - 1, np.uint16), width)
    for bit in range(n_codes * width, 8 * len(data)):
        flipped = int.from_bytes(data, "little") ^ 1 << bit
        assert not has_clear_padding(flipped.to_bytes(len(data), "little"), width, n_codes)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, ">u2"])
def test_packs_any_layout_of_memory(dtype):
    codes = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    assert pack(codes[:, 1], 5) == slow_dacz.segment(codes[:, 1].ravel().tolist(), 5)
