"""Codes as one sequence of ids, batches, and what models get wrong in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec import Codec
from dacodec.errors import CodesError, ConfigError, RowError
from dacodec.tokens import (
    BARK_COARSE,
    Cut,
    Filled,
    FlatLayout,
    apply,
    batch,
    delayed,
    flatten,
    invert,
    unbatch,
    unflatten,
)

ORDERS = ["frames", "codebooks"]


@st.composite
def layouts(draw):
    """Any numbers of codebooks and codes; special ids behind the codes, or before them."""
    size, n, first = draw(st.integers(1, 50)), draw(st.integers(1, 12)), draw(st.integers(0, 30))
    special = draw(st.lists(st.integers(0, first - 1), min_size=3, max_size=3)) if first else [-1] * 3
    return FlatLayout(n, size, first, draw(st.sampled_from(ORDERS)), *special)


def codes_of(draw, n_codebooks, codebook_size):
    n_frames, seed = draw(st.integers(0, 20)), draw(st.integers(0, 1000))
    return np.random.default_rng(seed).integers(0, codebook_size, (n_codebooks, n_frames))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_codes_go_there_and_back(data):
    layout = data.draw(layouts())
    codes = codes_of(data.draw, layout.n_codebooks, layout.codebook_size)
    begin, end = data.draw(st.booleans()), data.draw(st.booleans())
    ids = flatten(codes, layout, begin=begin, end=end)
    assert len(ids) == codes.size + begin + end
    assert 0 <= ids.min(initial=0) <= ids.max(initial=0) < layout.vocabulary
    padded = np.concatenate([ids, np.full(data.draw(st.integers(0, 3)), layout.padding)])
    found = unflatten(padded, layout)
    assert found.codes.dtype == np.uint16
    assert np.array_equal(found.codes, codes)
    assert found.bad == ()
    n_cut = len(padded) - codes.size
    assert found.cut == (Cut(begin, 0, n_cut - begin) if codes.size else Cut(n_cut, 0, 0))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_delays_of_any_size_go_there_and_back(data):
    layout = delayed(
        data.draw(st.integers(1, 12)), data.draw(st.integers(1, 50)), data.draw(st.integers(0, 3))
    )
    codes = codes_of(data.draw, layout.n_codebooks, layout.codebook_size)
    assert np.array_equal(invert(apply(codes, layout), layout).codes, codes)


def test_the_two_orders():
    codes = [[1, 2, 3], [4, 5, 6]]
    by_frame = flatten(codes_array := np.array(codes), FlatLayout(2, 10))
    assert by_frame.tolist() == [20, 1, 14, 2, 15, 3, 16, 21]
    by_codebook = flatten(codes_array, FlatLayout(2, 10, order="codebooks"), begin=False, end=False)
    assert by_codebook.tolist() == [1, 2, 3, 14, 15, 16]
    assert flatten(codes_array, BARK_COARSE, begin=False, end=False).tolist() == [
        10001, 11028, 10002, 11029, 10003, 11030,
    ]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_an_id_that_is_no_code_is_filled_and_told(order):
    layout = FlatLayout(3, 10, order=order)
    codes = np.arange(12).reshape(3, 4) % 10
    ids = flatten(codes, layout)
    where = 1 + (2 * 3 + 1 if order == "frames" else 1 * 4 + 2)
    ids[where] = 777
    found = unflatten(ids, layout)
    expected = codes.copy()
    expected[1, 2] = codes[1, 1]
    assert np.array_equal(found.codes, expected)
    assert found.bad == (Filled(1, 2, 777),)


def test_ids_that_are_missing_or_too_many_disturb_one_frame_only():
    layout = FlatLayout(3, 10)
    codes = np.arange(12).reshape(3, 4) % 10
    ids = flatten(codes, layout)
    found = unflatten(np.delete(ids, 1 + 3 + 1), layout)  # frame 1, codebook 1
    expected = codes.copy()
    expected[1, 1] = codes[1, 0]
    assert np.array_equal(found.codes, expected)
    assert found.bad == (Filled(1, 1, None),)
    assert np.array_equal(unflatten(np.insert(ids, 5, 777), layout).codes, codes)
    short = unflatten(ids[:-2], layout)  # without the end and the last code
    assert np.array_equal(short.codes, codes[:, :3])
    assert short.cut == Cut(1, 1, 0)
    ended = unflatten(np.concatenate([ids, ids[1:]]), layout)
    assert np.array_equal(ended.codes, codes)
    assert ended.cut == Cut(1, 0, 1 + 13)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_says_gives_codes_in_range(data):
    layout = data.draw(layouts())
    ids = data.draw(st.lists(st.integers(-2, layout.vocabulary + 3), max_size=80))
    found = unflatten(np.array(ids, int), layout)
    assert found.codes.shape[0] == layout.n_codebooks
    assert found.codes.size == 0 or found.codes.max() < layout.codebook_size
    assert found.cut.leading_rows + found.cut.trailing_rows <= len(ids)
    delays = delayed(layout.n_codebooks, layout.codebook_size)
    n_rows = len(ids) // layout.n_codebooks
    rows = np.array(ids[: n_rows * layout.n_codebooks], int).reshape(n_rows, layout.n_codebooks)
    found = invert(rows, delays, lenient=True)
    assert found.codes.size == 0 or found.codes.max() < layout.codebook_size


def test_a_models_bad_output_is_heard():
    """Ids of 1024 and over in the middle, an end too early and ragged ends: audio of the frames that are there."""
    codec = Codec.from_pretrained("builtin")
    codes = np.random.default_rng(0).integers(0, 1024, (codec.n_codebooks, 30))
    rows = apply(codes, "dia")[:-3]
    rows[20, 3], rows[22, 0] = 1027, 1026
    delayed_rows = invert(rows, "dia", lenient=True)
    ids = flatten(codes, FlatLayout(codec.n_codebooks))[:-4]
    ids[100] = 1_000_000
    flat = unflatten(ids, FlatLayout(codec.n_codebooks))
    assert [bad.id for bad in delayed_rows.bad] == [1027, 1026]
    assert (flat.bad[0].id, flat.cut.unfinished_frames) == (1_000_000, 1)
    for found in (delayed_rows, flat):
        n_frames = found.codes.shape[1]
        assert 25 < n_frames < 30
        audio = codec.decode(codec.from_codes(found.codes))
        assert np.isfinite(audio).all()
        assert audio.size == codec.geometry.samples(n_frames)


def test_codes_after_the_end_are_cut_if_asked():
    codes = np.random.default_rng(0).integers(0, 16, (3, 10))
    layout = delayed(3, 16)
    rows = np.concatenate([apply(codes, layout), apply(codes, layout, end=False)])
    with pytest.raises(RowError, match="after the end"):
        invert(rows, layout)
    found = invert(rows, layout, lenient=True)
    assert np.array_equal(found.codes, codes)
    assert found.cut == Cut(1, 0, 13)


@pytest.mark.parametrize(
    "options",
    [{"n_codebooks": 0}, {"order": "rows"}, {"begin": 5}, {"vocabulary": 10}, {"first": -1}],
    ids=str,
)
def test_layouts_that_cannot_be(options):
    with pytest.raises(ConfigError):
        FlatLayout(**{"n_codebooks": 2, "codebook_size": 10, **options})


def test_codes_and_ids_that_do_not_fit():
    layout = FlatLayout(2, 10)
    for codes in (np.zeros((3, 4), int), np.zeros((2, 4)), np.full((2, 4), 10)):
        with pytest.raises(CodesError):
            flatten(codes, layout)
    for ids in (np.zeros((2, 4), int), np.zeros(4)):
        with pytest.raises(RowError):
            unflatten(ids, layout)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.sampled_from([(), (3,)]),
    st.sampled_from(["left", "right"]),
    st.integers(1, 8),
)
@settings(deadline=None)
def test_batches_go_there_and_back(lengths, rest, side, multiple_of):
    sequences = [np.arange(n * (rest[0] if rest else 1)).reshape(n, *rest) + 5 for n in lengths]
    ids, mask = batch(sequences, padding=2, side=side, multiple_of=multiple_of)
    assert ids.shape == (len(lengths), -(-max(lengths) // multiple_of) * multiple_of, *rest)
    assert (ids[~mask] == 2).all()
    assert mask.sum(1).tolist() == lengths
    if side == "left" and ids.shape[1]:
        assert mask[:, -1].tolist() == [n > 0 for n in lengths]
    for mine, given_ in zip(unbatch(ids, mask), sequences, strict=True):
        assert np.array_equal(mine, given_)


def test_batches_of_nothing_and_of_two_kinds():
    for sequences in ([], [[1], [[1, 2]]], [np.zeros((1, 2, 3), int)]):
        with pytest.raises(ConfigError):
            batch(sequences, padding=0)
