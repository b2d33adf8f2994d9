"""The matrices compute exactly what a filter does."""

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


@pytest.mark.parametrize(("outputs", "taps"), POINTS)
def test_zeros_and_pairs_are_where_the_transforms_leave_them_out(outputs, taps):
    w = winograd(outputs, taps)
    n = outputs + taps - 1
    assert not w.bt[0][-1]
    assert not any(row[0] for row in w.bt[1:])
    assert not any(row[-1] for row in w.bt[:-1])
    assert not any(row[0] for row in w.at[1:])
    assert not any(row[-1] for row in w.at[:-1])
    for i in range(1, n - 2, 2):
        assert [row[i] * (-1) ** k for k, row in enumerate(w.at)] == [row[i + 1] for row in w.at]


def test_seven_taps_by_two_transforms_in_each_other():
    """native/winograd.h's sums and differences, an F(3, 2), around F(4, 4): 12 outputs in 27 products."""
    rng = random.Random(1)
    w = winograd(4, 4)
    taps = [Fraction(rng.randint(-9, 9)) for _ in range(7)]
    signal = [Fraction(rng.randint(-9, 9)) for _ in range(18)]
    first, second = times(w.g, taps[:4]), times(w.g, [*taps[4:], Fraction(0)])
    x = [times(w.bt, [*signal, Fraction(0)][4 * tile : 4 * tile + 7]) for tile in range(4)]
    y = [[], [], []]
    n_products = 0
    for i in range(7):
        zero = (x[0][i] - x[2][i]) * first[i]
        infinite = (x[3][i] - x[1][i]) * second[i]
        plus = (x[1][i] + x[2][i]) * (first[i] + second[i]) / 2
        minus = (x[1][i] - x[2][i]) * (first[i] - second[i]) / 2
        n_products += 3 + bool(second[i])
        y[0].append(zero + plus - minus)
        y[1].append(plus + minus)
        y[2].append(infinite + plus - minus)
    assert n_products == 27
    direct = [sum(taps[j] * signal[t + j] for j in range(7)) for t in range(12)]
    assert [value for tile in y for value in times(w.at, tile)] == direct


def test_entries_are_float32_or_near_one():
    for key in POINTS:
        for matrix in (winograd(*key).at, winograd(*key).bt):
            assert max(abs(x) for row in matrix for x in row) < 4
