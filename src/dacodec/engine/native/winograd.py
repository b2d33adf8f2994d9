"""The matrices of Winograd's minimal filtering F(m, r), from their points, in fractions.

m outputs of a filter of r taps are ``A' [(G g) * (B' x)]``, with N = m + r - 1 products in the middle. This is the
transpose of the Toom-Cook method for multiplying two polynomials: evaluate both at N points (infinity is the leading
coefficient), multiply the values, interpolate. docs/engine.md explains it from the beginning.

Source: Winograd, Arithmetic Complexity of Computations (1980); Lavin and Gray, arXiv 1509.09308.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

Matrix = list[list[Fraction]]

_HALF = Fraction(1, 2)

# The finite points of each F(m, r); infinity is always the last. Small numbers and their reciprocals keep the
# matrices' entries, and with them the rounding errors, small. All but zero and the last finite point come as p, -p,
# so that native/winograd.h can compute A' in pairs.
POINTS: dict[tuple[int, int], tuple[Fraction | int, ...]] = {
    (4, 4): (0, 1, -1, 2, -2, _HALF),
    (4, 2): (0, 1, -1, _HALF),
}


@dataclass(frozen=True)
class Winograd:
    """F(outputs, taps): A' [m, N], G [N, r] and B' [N, N], N = m + r - 1."""

    outputs: int
    taps: int
    at: Matrix
    g: Matrix
    bt: Matrix


@cache
def winograd(outputs: int, taps: int) -> Winograd:
    """F(outputs, taps) over :data:`POINTS`."""
    points = [Fraction(p) for p in POINTS[outputs, taps]]
    n = len(points) + 1
    assert n == outputs + taps - 1
    # Multiplying polynomials is  V_n^-1 [(V_m a) * (V_r g)],  V_k the values at all points of k coefficients.
    # Transposed in a, this is the filter.
    at = _transposed(_values(points, outputs))
    g = _values(points, taps)
    bt = _transposed(_inverse(_values(points, n)))
    for i in range(n):
        _balance(i, at, g, bt)
    return Winograd(outputs, taps, at, g, bt)


def _balance(i: int, at: Matrix, g: Matrix, bt: Matrix) -> None:
    """Scale product ``i``: its row of B' and column of A' to a norm near 1, by powers of two, exactly.

    The inverse factor goes into the weights, which are transformed in float64. The sign is chosen so that the
    rows of +p and -p agree in their even coefficients.
    """
    scale = Fraction(2) ** -round(math.log2(math.hypot(*bt[i])))
    if (first := next((x for x in bt[i][::2] if x), None)) is not None and first < 0:
        scale = -scale
    bt[i] = [x * scale for x in bt[i]]
    column = Fraction(2) ** -round(math.log2(math.hypot(*(row[i] for row in at))))
    for row in at:
        row[i] *= column
    g[i] = [x / (scale * column) for x in g[i]]


def _values(points: Sequence[Fraction], count: int) -> Matrix:
    infinity = [Fraction(0)] * (count - 1) + [Fraction(1)]
    return [[p**j for j in range(count)] for p in points] + [infinity]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(row) for row in zip(*matrix, strict=True)]


def _inverse(matrix: Matrix) -> Matrix:
    """By Gauss-Jordan elimination."""
    n = len(matrix)
    rows = [row + [Fraction(int(i == j)) for j in range(n)] for i, row in enumerate(matrix)]
    for c in range(n):
        pivot = next(i for i in range(c, n) if rows[i][c])
        rows[c], rows[pivot] = rows[pivot], rows[c]
        rows[c] = [x / rows[c][c] for x in rows[c]]
        for i in range(n):
            if i != c and rows[i][c]:
                rows[i] = [x - rows[i][c] * y for x, y in zip(rows[i], rows[c], strict=True)]
    return [row[n:] for row in rows]
