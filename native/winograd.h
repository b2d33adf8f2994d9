// The transforms of Winograd's (Cook and Toom's) minimal filtering, F(m, r): m outputs of r taps in N = m + r - 1
// products rather than m * r.
//
// Outputs y_t = sum_j g_j x_(t+j) are the transpose of a product of polynomials, and a product of degree N - 1 is
// known from its values at N points. So  y = A' [ (G g) * (B' x) ]  with matrices that follow from the points
// alone. They come from Python (engine/winograd.py), computed in fractions. G g is done once, with the weights;
// B' x and A' (.) are below, for W channels at a time.
//
// Points come as 0, +p, -p, +q, -q, ..., infinity. The rows of B' for +p and -p have equal even and opposite odd
// coefficients, and so have the columns of A': sums and differences of an even and an odd half give two for the
// work of one. F(4, 2) has an odd number of points and is so small that it is done plainly.
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

// A matrix with each coefficient W times over, to be read as a vector.
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

// B' x for rows x[0..N-1], from channel c on; product i goes to v + i * stride.
template <int M, int R>
DAC_INLINE void transform_input(const Splatted& bt, const float* const* x, long c, float* v, long stride) {
    constexpr int N = M + R - 1;
    V in[N];
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) in[j] = load(x[j] + c);
    if constexpr (N % 2) {
#pragma GCC unroll 16
        for (int i = 0; i < N; i++) {
            V sum = in[0] * bt(i, 0);
#pragma GCC unroll 16
            for (int j = 1; j < N; j++) sum += in[j] * bt(i, j);
            store(v + i * stride, sum);
        }
    } else {
        V zero = in[0] * bt(0, 0), infinity = in[1] * bt(N - 1, 1);
#pragma GCC unroll 16
        for (int j = 2; j < N; j += 2) {
            zero += in[j] * bt(0, j);
            infinity += in[j + 1] * bt(N - 1, j + 1);
        }
        store(v, zero);
        store(v + (N - 1) * stride, infinity);
#pragma GCC unroll 16
        for (int i = 1; i < N - 1; i += 2) {
            V even = in[0] * bt(i, 0), odd = in[1] * bt(i, 1);
#pragma GCC unroll 16
            for (int j = 2; j < N; j += 2) {
                even += in[j] * bt(i, j);
                odd += in[j + 1] * bt(i, j + 1);
            }
            store(v + i * stride, even + odd);
            store(v + (i + 1) * stride, even - odd);
        }
    }
}

// A' p for products p + i * stride; the m outputs go to y.
template <int M, int R>
DAC_INLINE void transform_output(const Splatted& at, const float* p, long stride, V* y) {
    constexpr int N = M + R - 1;
    if constexpr (N % 2) {
#pragma GCC unroll 16
        for (int k = 0; k < M; k++) {
            y[k] = load(p) * at(k, 0);
#pragma GCC unroll 16
            for (int i = 1; i < N; i++) y[k] += load(p + i * stride) * at(k, i);
        }
    } else {
        V plus[N / 2], minus[N / 2];
#pragma GCC unroll 16
        for (int i = 1; i < N - 1; i += 2) {
            const V a = load(p + i * stride), b = load(p + (i + 1) * stride);
            plus[i / 2] = a + b;
            minus[i / 2] = a - b;
        }
#pragma GCC unroll 16
        for (int k = 0; k < M; k++) {
            V sum = k == 0 ? load(p) * at(0, 0) : V{};
            if (k == M - 1) sum += load(p + (N - 1) * stride) * at(k, N - 1);
#pragma GCC unroll 16
            for (int i = 1; i < N - 1; i += 2) {
                const V half = k % 2 ? minus[i / 2] : plus[i / 2];
                sum += half * at(k, i);
            }
            y[k] = sum;
        }
    }
}

}  // namespace dac
