// Products of rows with packed weights: where nearly all the time is spent.
//
//     c[i] = sum over taps j and channels k of  a[i + j * dilation][k] * b[j][k]  (+ bias, + another row, Snake)
//
// Rows may overlap: a convolution that steps by one row is a product of overlapping rows.
// Weights are packed in panels of `panel_width(n)` columns, [panel][tap][channel][column], so that they are read
// sequentially. Each output is the sum of its terms in a fixed order, whatever rows are computed with it, so the
// result does not depend on how the work is divided.
#pragma once

#include "vector.h"

namespace dac {

constexpr long SUM_TERMS = 256;

// Columns of a panel: two vectors, or one if the number of columns is not a multiple of two vectors.
inline int panel_width(long columns) { return columns % (2 * W) ? W : 2 * W; }

// Applied to a sum before it is stored. Pointers are to the first row and column; null means not applied.
struct Epilogue {
    const float* bias = nullptr;
    const float* add = nullptr;  // rows of `add_stride` floats
    long add_stride = 0;
    const float* alpha = nullptr;  // Snake
    const float* inverse_alpha = nullptr;

    Epilogue at(long row, long column) const {
        Epilogue e = *this;
        if (bias) e.bias += column;
        if (add) e.add += row * add_stride + column;
        if (alpha) e.alpha += column, e.inverse_alpha += column;
        return e;
    }

    V operator()(V v, long row, long column) const {
        if (bias) v += load(bias + column);
        if (add) v += load(add + row * add_stride + column);
        if (alpha) v = snake(v, load(alpha + column), load(inverse_alpha + column));
        return v;
    }
};

// Rows and weights of a product.
struct Factors {
    const float* a;
    long row_stride;   // floats from one row to the next
    long taps;
    long tap_stride;   // floats from one tap's row to the next
    long depth;        // channels of a tap
    const float* b;    // one panel

    Factors from_row(long row) const {
        Factors f = *this;
        f.a += row * row_stride;
        return f;
    }
};

// A tile of ROWS rows and VECTORS vectors: all its sums stay in registers. Long sums are made of sums of at most
// SUM_TERMS terms, which keeps the rounding error from growing with their length.
template <int ROWS, int VECTORS>
static void tile(const Factors& f, float* c, long c_stride, const Epilogue& finish) {
    V acc[ROWS][VECTORS] = {};
    V total[ROWS][VECTORS];
    bool first = true;
    const float* b = f.b;
    for (long tap = 0; tap < f.taps; tap++) {
        for (long k0 = 0; k0 < f.depth; k0 += SUM_TERMS) {
            if (k0 || tap) {
#pragma GCC unroll 16
                for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
                    for (int j = 0; j < VECTORS; j++) {
                        total[i][j] = first ? acc[i][j] : total[i][j] + acc[i][j];
                        acc[i][j] = V{};
                    }
                first = false;
            }
            const float* a = f.a + tap * f.tap_stride + k0;
            const long terms = f.depth - k0 < SUM_TERMS ? f.depth - k0 : SUM_TERMS;
#pragma GCC unroll 4
            for (long k = 0; k < terms; k++, b += VECTORS * W) {
                V weights[VECTORS];
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++) weights[j] = load(b + j * W);
#pragma GCC unroll 16
                for (int i = 0; i < ROWS; i++) {
                    const V x = splat(a[i * f.row_stride + k]);
#pragma GCC unroll 4
                    for (int j = 0; j < VECTORS; j++) acc[i][j] += x * weights[j];
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) {
            const V sum = first ? acc[i][j] : acc[i][j] + total[i][j];
            store(c + i * c_stride + j * W, finish(sum, i, j * W));
        }
}

// The last rows, fewer than a tile.
template <int ROWS, int VECTORS>
static void tile_of(long rows, const Factors& f, float* c, long c_stride, const Epilogue& finish) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) return tile<ROWS, VECTORS>(f, c, c_stride, finish);
        tile_of<ROWS - 1, VECTORS>(rows, f, c, c_stride, finish);
    }
}

template <int VECTORS>
static void panel_rows(long rows, const Factors& f, float* c, long c_stride, const Epilogue& finish) {
    for (long i = 0; i < rows; i += TILE_ROWS) {
        const Factors here = f.from_row(i);
        const Epilogue then = finish.at(i, 0);
        if (rows - i >= TILE_ROWS) tile<TILE_ROWS, VECTORS>(here, c + i * c_stride, c_stride, then);
        else tile_of<TILE_ROWS - 1, VECTORS>(rows - i, here, c + i * c_stride, c_stride, then);
    }
}

// One panel of columns for many rows.
inline void panel(int width, long rows, const Factors& f, float* c, long c_stride, const Epilogue& finish) {
    if (width == 2 * W) panel_rows<2>(rows, f, c, c_stride, finish);
    else panel_rows<1>(rows, f, c, c_stride, finish);
}

}  // namespace dac
