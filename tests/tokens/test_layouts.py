"""Codes in rows of ids and back, whole and as a language model writes them."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec.errors import CodesError, ConfigError, RowError
from dacodec.tokens import LAYOUTS, BadId, Cut, Layout, Undelay, apply, find_layout, invert

SMALL = Layout("small", (0, 2, 3), begin=18, end=16, padding=17, codebook_size=16, vocabulary=19)
FLAT = Layout("flat", (0, 1), begin=0, padding=1, codebook_size=4, vocabulary=10, offsets=(2, 6))
EVEN = Layout("even", (0, 0), begin=5, end=4, padding=4, codebook_size=4, vocabulary=6)
ALL = [*LAYOUTS.values(), SMALL, FLAT, EVEN]


def random_codes(layout, n_frames, seed=0):
    shape = (layout.n_codebooks, n_frames)
    return np.random.default_rng(seed).integers(0, layout.codebook_size, shape)


def slow_invert(rows, layout):
    """Code by code: the frames, and the ids that are none."""
    rows = [list(map(int, row)) for row in rows]
    start = next((i for i, row in enumerate(rows) if row[0] != layout.begin), len(rows))
    frames, bad = [], []
    for f in range(len(rows)):
        if start + f + max(layout.delays) >= len(rows):
            break
        ids = [rows[start + f + delay][k] for k, delay in enumerate(layout.delays)]
        slowest = layout.delays.index(max(layout.delays))
        if {ids[0], ids[slowest]} & {layout.end, layout.padding}:
            break
        frame = []
        for k, i in enumerate(ids):
            code = i - layout.offsets[k]
            if not 0 <= code < layout.codebook_size:
                bad.append(BadId(start + f + layout.delays[k], k, f, i))
                code = frames[-1][k] if frames else 0
            frame.append(code)
        frames.append(frame)
    return np.array(frames, int).reshape(-1, layout.n_codebooks).T, tuple(bad)


def pushed(undelay, pieces):
    state, codes, bad = None, [], []
    for rows in pieces:
        more, state, wrong = undelay.push(rows, state)
        codes.append(more)
        bad += wrong
    return np.concatenate(codes, axis=1), tuple(bad), undelay.flush(state)


def told(call):
    """What a call gives, or the row that it refuses."""
    try:
        return call(), None
    except RowError as error:
        return None, error.row


def test_the_picture():
    rows = apply(np.arange(12).reshape(3, 4), SMALL)
    assert rows.tolist() == [
        [18, 18, 18],
        [0, 18, 18],
        [1, 18, 18],
        [2, 4, 18],
        [3, 5, 8],
        [16, 6, 9],
        [17, 7, 10],
        [17, 16, 11],
        [17, 17, 16],
    ]
    assert apply(np.arange(4).reshape(2, 2), replace(FLAT, codebook_size=4)).tolist() == [
        [0, 0],
        [2, 0],
        [3, 8],
        [1, 9],
    ]


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
@pytest.mark.parametrize("n_frames", [0, 1, 30])
def test_there_and_back(layout, n_frames):
    codes = random_codes(layout, n_frames)
    inverted = invert(apply(codes, layout), layout)
    assert inverted.codes.dtype == np.uint16
    np.testing.assert_array_equal(inverted.codes, codes)
    n_leading = len(apply(codes, layout)) if n_frames == 0 and layout.begin == layout.padding else 1
    assert (inverted.bad, inverted.cut) == ((), Cut(n_leading, 0, 0))


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_a_frame_comes_with_its_last_code_and_not_a_row_later(layout):
    undelay, state = Undelay(layout), None
    for i, row in enumerate(apply(random_codes(layout, 20), layout, end=False)):
        codes, state, _ = undelay.push(row[None], state)
        assert codes.shape[1] == (i >= 1 + layout.max_delay)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_cut_of_any_rows_gives_what_the_whole_gives(data):
    layout = data.draw(st.sampled_from(ALL))
    ids = st.one_of(
        st.integers(min(layout.offsets), max(layout.offsets) + layout.codebook_size - 1),
        st.sampled_from([layout.begin, layout.padding, *layout.ends, -1, layout.vocabulary + 7]),
    )
    rows = apply(random_codes(layout, data.draw(st.integers(0, 20))), layout, end=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(0, 6))):
        rows[data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, layout.n_codebooks - 1))] = (
            data.draw(ids)
        )
    rows = np.concatenate([np.repeat(rows[:1], data.draw(st.integers(0, 3)), 0), rows])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=10)))
    pieces = np.split(rows, cuts)
    whole, refused = told(lambda: invert(rows, layout))
    parts, refused_in_parts = told(lambda: pushed(Undelay(layout), pieces))
    assert refused == refused_in_parts
    if refused is not None:
        return
    codes, bad, cut = parts
    np.testing.assert_array_equal(codes, whole.codes)
    assert (bad, cut) == (whole.bad, whole.cut)
    expected, named = slow_invert(rows, layout)
    np.testing.assert_array_equal(codes, expected)
    assert sorted(bad) == sorted(named)


def test_what_was_cut_is_told():
    codes = random_codes(SMALL, 10)
    rows = apply(codes, SMALL)
    padded = np.concatenate([np.full((4, 3), 18), rows, np.full((5, 3), 17)])
    assert invert(padded, SMALL).cut == Cut(5, 0, 5)
    broken = invert(rows[:8], SMALL)  # 7 rows of frames, the last three without their last codebook
    np.testing.assert_array_equal(broken.codes, codes[:, :4])
    assert broken.cut == Cut(1, 3, 0)
    assert invert(rows[:0], SMALL).cut == Cut(0, 0, 0)
    assert invert(np.full((3, 3), 18), SMALL).cut == Cut(3, 0, 0)


def test_a_prompt_and_what_follows_it():
    """A model continues where the prompt ends; without the prompt's rows, its frames are missing."""
    codes = random_codes(SMALL, 10)
    rows = apply(codes, SMALL)
    prompt = apply(codes[:, :4], SMALL, end=False)
    known = prompt != SMALL.padding
    np.testing.assert_array_equal(prompt[known], rows[: len(prompt)][known])
    np.testing.assert_array_equal(invert(rows[5:], SMALL).codes, codes[:, 4:])


def test_bad_ids_are_named_and_the_frame_before_is_heard():
    codes = random_codes(SMALL, 10)
    rows = apply(codes, SMALL)
    rows[3 + 1, 0] = 18  # frame 3
    rows[4 + 1 + 2, 1] = -5  # frame 4
    rows[0 + 1 + 3, 2] = 99  # frame 0
    inverted = invert(rows, SMALL)
    expected = codes.copy()
    expected[0, 3], expected[1, 4], expected[2, 0] = codes[0, 2], codes[1, 3], 0
    np.testing.assert_array_equal(inverted.codes, expected)
    assert inverted.bad == (BadId(4, 2, 0, 99), BadId(4, 0, 3, 18), BadId(7, 1, 4, -5))


def test_sequences_of_a_batch_end_when_they_like():
    signals = [random_codes(SMALL, n, seed=n) for n in (3, 9)]
    rows = [apply(codes, SMALL) for codes in signals]
    rows[0] = np.pad(rows[0], ((0, len(rows[1]) - len(rows[0])), (0, 0)), constant_values=SMALL.padding)
    undelay, states, heard = Undelay(SMALL), [None, None], [[], []]
    for step in zip(*rows, strict=True):
        for i, row in enumerate(step):
            codes, states[i], _ = undelay.push(row[None], states[i])
            heard[i].append(codes)
    for codes, pieces in zip(signals, heard, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), codes)
    assert [state.ended for state in states] == [7, 13]
    assert undelay.flush(states[0]) == Cut(1, 0, 6)


def test_higgs_may_end_in_a_later_codebook():
    """Its end is in the codebooks up to one at once, and in the others a row each later (its logits processor)."""
    codes = random_codes(LAYOUTS["higgs-audio"], 30)
    rows = apply(codes, "higgs-audio", end=False)[:21]
    for i in range(5):
        rows = np.concatenate([rows, np.full((1, 8), 1025)])
        rows[-1, 4 + i :] = apply(codes, "higgs-audio")[20 + 1 + i, 4 + i :]
    assert (rows[-1] == 1025).sum() == 8
    np.testing.assert_array_equal(invert(rows, "higgs-audio").codes, codes[:, :17])


def test_a_state_is_a_plain_value():
    undelay, codes = Undelay(SMALL), random_codes(SMALL, 10)
    rows = apply(codes, SMALL)
    first, state, _ = undelay.push(rows[:6])
    again = pickle.loads(pickle.dumps(state))
    assert again == state
    for s in (state, again):
        np.testing.assert_array_equal(np.concatenate([first, undelay.push(rows[6:], s).codes], 1), codes)


def test_rows_that_do_not_fit_are_named():
    undelay, rows = Undelay(SMALL), apply(random_codes(SMALL, 10), SMALL)
    _, state, _ = undelay.push(rows[:5])
    for given_rows, row, says in [
        ([[1, 2, 3], [1, 2]], 6, "3 ids, got 2"),
        ([[1, 2, 3], [1, 2, 3], [1.5, 2, 3]], 7, "integers"),
        ([[1, 2, 3], [[1, 2], 2, 3]], 6, "lists in it"),
        ([[1, 2, 2**70]], 5, "integers"),
        (np.zeros((2, 9), int), 5, "3 codebooks"),
        (np.zeros(3, int), 5, r"row\[None\]"),
        (np.zeros((2, 3)), 5, "argmax"),
    ]:
        with pytest.raises(RowError, match=says) as error:
            undelay.push(given_rows, state)
        assert error.value.row == row
        assert f"(at row {row})" in str(error.value)
        again = pickle.loads(pickle.dumps(error.value))
        assert (str(again), again.row) == (str(error.value), row)
    with pytest.raises(RowError, match="after the end of the signal in row 14") as error:
        invert(np.concatenate([rows, rows[6:7], rows[6:7]]), SMALL)
    assert error.value.row == 15
    np.testing.assert_array_equal(
        undelay.push(rows[5:].tolist(), state).codes, invert(rows, SMALL).codes[:, 1:]
    )


def test_the_rows_before_a_wrong_one_are_not_lost():
    rows = apply(random_codes(SMALL, 12), SMALL).tolist()
    undelay, state = Undelay(SMALL), Undelay(SMALL).push(rows[:4]).state
    right, error = undelay.push_valid([*rows[4:9], [1, 2], *rows[9:]], state)
    assert error.row == 9
    np.testing.assert_array_equal(right.codes, undelay.push(rows[4:9], state).codes)
    assert right.state == undelay.push(rows[4:9], state).state
    assert undelay.push_valid(rows[4:], state)[1] is None


def test_codes_that_do_not_fit():
    for codes, says in [
        (np.zeros((2, 5), int), "3 codebooks"),
        (np.zeros((3, 5)), "integers"),
        (np.full((3, 5), 16), "code 16 at codebook 0, frame 0"),
    ]:
        with pytest.raises(CodesError, match=says):
            apply(codes, SMALL)


def test_layouts_that_cannot_be():
    with pytest.raises(ConfigError, match="musicgen, parler-tts, dia, higgs-audio"):
        find_layout("nothing")
    for change, says in [
        ({"delays": (1, 2, 3)}, "begin with 0"),
        ({"delays": ()}, "begin with 0"),
        ({"offsets": (0, 1)}, "2 offsets for 3"),
        ({"vocabulary": 18}, r"not all in 0..17"),
        ({"begin": 3}, "is a code of codebook 0"),
        ({"offsets": (0, 0, 9)}, "codes of codebook 2"),
    ]:
        with pytest.raises(ConfigError, match=says):
            replace(SMALL, **change)
