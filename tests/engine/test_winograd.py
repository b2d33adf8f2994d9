"""The matrices do what a filter does, exactly."""

import random
from fractions import Fraction

import pytest

from dacodec.engine.native.winograd import POINTS, winograd


def times(matrix, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize(("outputs", "taps"), POINTS)
def test_it_is_a_filter_in_fewer_products(outputs, taps):
    rng = random.Random(0)
    w = winograd(outputs, taps)
    filter_ = [Fraction(rng.randint(-9, 9)) for _ in range(taps)]
    signal = [Fraction(rng.randint(-9, 9)) for _ in range(outputs + taps - 1)]
    products = [a * b for a, b in zip(times(w.g, filter_), times(w.bt, signal), strict=True)]
    assert len(products) == outputs + taps - 1
    direct = [sum(filter_[j] * signal[t + j] for j in range(taps)) for t in range(outputs)]
    assert times(w.at, products) == direct


@pytest.mark.parametrize(("outputs", "taps"), [key for key in POINTS if sum(key) % 2])
def test_points_come_in_pairs_as_the_transforms_want_them(outputs, taps):
    w = winograd(outputs, taps)
    n = outputs + taps - 1
    assert not any(w.bt[0][1::2])
    assert not any(w.bt[-1][::2])
    for i in range(1, n - 1, 2):
        assert [x * (-1) ** j for j, x in enumerate(w.bt[i])] == w.bt[i + 1]
        assert [row[i] * (-1) ** k for k, row in enumerate(w.at)] == [row[i + 1] for row in w.at]


def test_entries_are_float32_or_near_one():
    for key in POINTS:
        for matrix in (winograd(*key).at, winograd(*key).bt):
            assert max(abs(x) for row in matrix for x in row) < 4
