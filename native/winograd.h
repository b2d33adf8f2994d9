// The transforms of Winograd's (Cook and Toom's) minimal filtering, F(m, r): m outputs of r taps in N = m + r - 1
// products rather than m * r.
//
// Outputs y_t = sum_j g_j x_(t+j) are the transpose of a product of polynomials, and a product of degree N - 1 is
// known from its values at N points. So  y = A' [ (G g) * (B' x) ]  with matrices that follow from the points
// alone. They come from Python (engine/native/winograd.py), computed in fractions. G g is done once, with the weights;
// B' x and A' (.) are computed here, for W channels at a time.
//
// The points are 0, +p, -p, ..., one more, infinity. Zero and infinity produce zeros in the matrices, which are
// skipped, and the columns of A' for +p and -p differ only in the signs of their odd rows.
#pragma once

#include <vector>

#include "vector.h"

namespace dac {

// A', G and B' of one F(m, r), as given by Python.
struct Matrices {
    int outputs, taps;  // m, r
    const double* at;   // [m][N]
    const double* g;    // [N][r]
    const double* bt;   // [N][N]
    int points() const { return outputs + taps - 1; }
};

// A matrix with each coefficient repeated W times, to be read as a vector.
struct Splatted {
    std::vector<float> values;
    int columns = 0;
    void set(const double* matrix, int rows, int columns_) {
        columns = columns_;
        values.resize(size_t(rows) * columns * W);
        for (int i = 0; i < rows * columns; i++)
            for (int w = 0; w < W; w++) values[size_t(i) * W + w] = float(matrix[i]);
    }
    V operator()(int row, int column) const { return load(values.data() + (row * columns + column) * W); }
};

// B' x for the N rows x[0], x[1], ..., from channel c on.
template <int N>
DAC_INLINE void transform_input(const Splatted& bt, const float* const* x, long c, V* v) {
    static_assert(N % 2, "points come as zero, pairs, one more, infinity");
    V in[N];
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) in[j] = load(x[j] + c);
    v[0] = in[0] * bt(0, 0);
#pragma GCC unroll 16
    for (int i = 1; i < N; i++) v[i] = in[1] * bt(i, 1);
#pragma GCC unroll 16
    for (int i = 0; i < N; i++)
#pragma GCC unroll 16
        for (int j = i ? 2 : 1; j < N - 1; j++) v[i] += in[j] * bt(i, j);
    v[N - 1] += in[N - 1] * bt(N - 1, N - 1);
}

// A' p for the N products p; M outputs go to y.
template <int M, int N>
DAC_INLINE void transform_output(const Splatted& at, const V* p, V* y) {
    V plus[N / 2], minus[N / 2];
#pragma GCC unroll 16
    for (int i = 1; i < N - 2; i += 2) {
        plus[i / 2] = p[i] + p[i + 1];
        minus[i / 2] = p[i] - p[i + 1];
    }
#pragma GCC unroll 16
    for (int k = 0; k < M; k++) {
        V sum = p[N - 2] * at(k, N - 2);
        if (k == 0) sum += p[0] * at(0, 0);
        if (k == M - 1) sum += p[N - 1] * at(k, N - 1);
#pragma GCC unroll 16
        for (int i = 1; i < N - 2; i += 2) sum += (k % 2 ? minus[i / 2] : plus[i / 2]) * at(k, i);
        y[k] = sum;
    }
}

// F(3, 2) over the points 0, infinity, 1, -1, using only sums and differences: four inputs to four factors, and
// four products to three outputs. The weights' side is g0, g1, (g0 + g1) / 2, (g0 - g1) / 2.
enum Outer { ZERO, INFINITE, PLUS, MINUS, OUTER };

DAC_INLINE void outer_input(V x0, V x1, V x2, V x3, V* v) {
    v[ZERO] = x0 - x2;
    v[INFINITE] = x3 - x1;
    v[PLUS] = x1 + x2;
    v[MINUS] = x1 - x2;
}

DAC_INLINE void outer_output(V zero, V infinite, V plus, V minus, V& y0, V& y1, V& y2) {
    const V difference = plus - minus;
    y0 = zero + difference;
    y1 = plus + minus;
    y2 = infinite + difference;
}

}  // namespace dac
