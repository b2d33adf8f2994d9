// y[t] = sum over j of x[t + j * dilation] W[j], rows of `depth` floats to rows of `width` floats: directly, or
// by Winograd's F(m, r) along time.
//
// A tile makes m outputs that lie `dilation` rows apart. Tiles are numbered so that `dilation` of them side by side
// make m * dilation neighbouring outputs: tile t begins at row (t / dilation) * m * dilation + t % dilation. Then
// product i of all tiles is one matrix product of rows, v[i][tile] times the transformed weights u[i], without moving
// any data.
//
// Seven taps are two parts of four (the eighth is zero), each an F(4, 4), whose seven points are few enough for
// rounding errors close to those of direct convolution. Output tile t needs input tile t for the first part and the
// next one, t + dilation, for the second: a convolution of two taps over tiles. It is done directly or, three tiles at a
// time, by an F(3, 2) around the F(4, 4): 27 products for 12 outputs instead of 84. The direct form wastes less when
// there are few rows; both read the same weights.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "gemm.h"
#include "memory.h"
#include "team.h"
#include "winograd.h"

namespace dac {

// A weight of PyTorch, read as [tap][channel][column] in its own order: the sum of three offsets locates an element.
// Channels and columns that only pad a row have no offset, and their weight is zero.
struct Weights {
    static constexpr long NONE = -1;
    const float* values;
    std::vector<long> taps, channels, columns;
    float operator()(long tap, long channel, long column) const {
        if (channels[channel] == NONE || columns[column] == NONE) return 0;
        return values[taps[tap] + channels[channel] + columns[column]];
    }
};

class Convolution {
  public:
    static constexpr long GROUP = 64;       // columns computed together: a multiple of every panel width
    static constexpr long MANY_TILES = 72;  // tiles that go from products to outputs at once
    static constexpr long MANY_TRIPLES = 36;  // the same for groups of three tiles

    // `matrices` null: direct convolution.
    Convolution(const Weights& weights, long dilation, const Matrices* matrices, Team& team)
        : depth_(weights.channels.size()), width_(weights.columns.size()), taps_(weights.taps.size()),
          dilation_(dilation), panel_(panel_width(width_)) {
        if (matrices) choose(*matrices);
        weights_ = floats(size_t(products_) * variants() * depth_ * width_);
        team.each(width_ / panel_, [&](long p, int) { pack(p, matrices, weights); });
    }

    long depth() const { return depth_; }
    long width() const { return width_; }
    bool direct() const { return products_ == 1; }
    long span() const { return (taps_ - 1) * dilation_ + 1; }  // rows that one output reads
    long granule() const {                                     // number of outputs that wastes nothing
        return direct() ? 1 : (parts_ == 2 ? 3 : 1) * outputs_ * dilation_;
    }
    long groups() const { return (width_ + GROUP - 1) / GROUP; }

    size_t expanded_floats(long steps) const {
        if (direct()) return 0;
        const long single = products_ * input_tiles(steps), triple = OUTER * products_ * tiles(steps, 3 * outputs_);
        return size_t(parts_ == 2 ? std::max(single, triple) : single) * depth_;
    }

    size_t scratch_floats() const {
        if (direct()) return 0;
        return size_t(products_) * GROUP * (parts_ == 2 ? std::max(MANY_TILES, OUTER * MANY_TRIPLES) : MANY_TILES);
    }

    // Whether a run of `steps` outputs takes less work in threes. Decided for all of its blocks at once, so that the
    // division among threads does not affect results. (The second part's last tap is zero, so its value at infinity is
    // zero: one product less.)
    bool in_triples(long steps) const {
        return parts_ == 2 && (OUTER * products_ - 1) * tiles(steps, 3 * outputs_) <=
                                  (2 * products_ - 1) * tiles(steps, outputs_);
    }

    // First half: v = B' x for channels from c0 to c1, of the rows that `steps` outputs read.
    void expand(bool triples, const float* x, long row_stride, long steps, float* v, long c0, long c1) const {
        if (!direct()) (this->*(triples ? expand_triples_ : expand_))(x, row_stride, steps, v, c0, c1);
    }

    // Second half: one group of columns of `steps` outputs, from v (or, directly, from x itself).
    void multiply(bool triples, const float* x, long row_stride, const float* v, long steps, long group,
                  float* scratch, float* y, long y_stride, const Epilogue& finish) const {
        const long first = group * GROUP, last = std::min(width_, first + GROUP);
        if (!direct()) {
            const auto multiply = triples ? multiply_triples_ : multiply_;
            return (this->*multiply)(v, steps, first, last, scratch, y, y_stride, finish);
        }
        for (long column = first; column < last; column += panel_)
            panel(panel_, steps,
                  {x, row_stride, taps_, dilation_ * row_stride, depth_, weights_.get() + column * taps_ * depth_},
                  y + column, y_stride, finish.at(0, column));
    }

  private:
    void choose(const Matrices& m) {
        outputs_ = m.outputs;
        products_ = m.points();
        parts_ = (taps_ + m.taps - 1) / m.taps;
        at_.set(m.at, outputs_, products_);
        bt_.set(m.bt, products_, products_);
        zeros_.assign(depth_, 0.0f);
        if (m.outputs == 4 && m.taps == 4 && parts_ == 2) {
            use<4, 7>();
            expand_triples_ = &Convolution::expand_triples<4, 7>;
            multiply_triples_ = &Convolution::multiply_triples<4, 7>;
        } else if (m.outputs == 4 && m.taps == 2 && parts_ == 1) {
            use<4, 5>();
        } else {
            throw std::invalid_argument("no such Winograd transform");
        }
    }

    template <int M, int N>
    void use() {
        expand_ = &Convolution::expand_tiles<M, N>;
        multiply_ = &Convolution::multiply_tiles<M, N>;
    }

    // Forms in which a weight is stored: each tap, the one part, or the F(3, 2) transform of both.
    long variants() const { return direct() ? taps_ : parts_ == 2 ? OUTER : 1; }

    // [product][panel][variant][channel][column]
    float* weights(long product, long column, long variant) const {
        return weights_.get() + ((product * width_ + column) * variants() + variant * panel_) * depth_;
    }

    void pack(long p, const Matrices* matrices, const Weights& from) {
        const long first = p * panel_;
        for (long k = 0; k < depth_; k++)
            for (int n = 0; n < panel_; n++) {
                const long at = k * panel_ + n;
                if (!matrices) {
                    for (long tap = 0; tap < taps_; tap++) weights(0, first, tap)[at] = from(tap, k, first + n);
                    continue;
                }
                for (long i = 0; i < products_; i++) {  // G g
                    double parts[2] = {};
                    for (long tap = 0; tap < taps_; tap++)
                        parts[tap / matrices->taps] +=
                            matrices->g[i * matrices->taps + tap % matrices->taps] * from(tap, k, first + n);
                    weights(i, first, ZERO)[at] = float(parts[0]);
                    if (parts_ == 1) continue;
                    weights(i, first, INFINITE)[at] = float(parts[1]);
                    weights(i, first, PLUS)[at] = float((parts[0] + parts[1]) / 2);
                    weights(i, first, MINUS)[at] = float((parts[0] - parts[1]) / 2);
                }
            }
    }

    // Tiles of m outputs that `steps` outputs take.
    long tiles(long steps, long m) const {
        const long whole = m * dilation_;
        return steps / whole * dilation_ + std::min(dilation_, steps % whole);
    }

    long input_tiles(long steps) const { return tiles(steps, outputs_) + (parts_ - 1) * dilation_; }

    long first_row(long tile, long m) const { return tile / dilation_ * m * dilation_ + tile % dilation_; }

    template <int COUNT>
    void rows_of(const float* x, long row_stride, long first, long rows, const float** in) const {
        for (int i = 0; i < COUNT; i++) {
            const long row = first + i * dilation_;
            in[i] = row < rows ? x + row * row_stride : zeros_.data();  // the last tiles may reach beyond the rows
        }
    }

    template <int M, int N>
    void expand_tiles(const float* x, long row_stride, long steps, float* v, long c0, long c1) const {
        const long n_tiles = input_tiles(steps), rows = steps + (taps_ - 1) * dilation_;
        for (long t = 0; t < n_tiles; t++) {
            const float* in[N];
            rows_of<N>(x, row_stride, first_row(t, M), rows, in);
            for (long c = c0; c < c1; c += W) {
                V out[N];
                transform_input<N>(bt_, in, c, out);
#pragma GCC unroll 16
                for (int i = 0; i < N; i++) store(v + (i * n_tiles + t) * depth_ + c, out[i]);
            }
        }
    }

    template <int M, int N>
    void multiply_tiles(const float* v, long steps, long first, long last, float* scratch, float* y,
                        long y_stride, const Epilogue& finish) const {
        const long n_tiles = tiles(steps, M), stride = input_tiles(steps) * depth_, product = MANY_TILES * GROUP;
        for (long t0 = 0; t0 < n_tiles; t0 += MANY_TILES) {
            const long count = std::min(MANY_TILES, n_tiles - t0);
            for (int i = 0; i < N; i++)
                for (long column = first; column < last; column += panel_)
                    panel(panel_, count,
                          {v + i * stride + t0 * depth_, depth_, i == N - 1 ? 1 : parts_, dilation_ * depth_, depth_,
                           weights(i, column, ZERO)},
                          scratch + i * product + (column - first), GROUP, {});
            for (long t = 0; t < count; t++) {
                const long row = first_row(t0 + t, M);
                for (long column = first; column < last; column += W) {
                    V p[N], out[M];
#pragma GCC unroll 16
                    for (int i = 0; i < N; i++) p[i] = load(scratch + i * product + t * GROUP + (column - first));
                    transform_output<M, N>(at_, p, out);
                    finish_tile<M>(out, row, column, steps, y, y_stride, finish);
                }
            }
        }
    }

    template <int M, int N>
    void expand_triples(const float* x, long row_stride, long steps, float* v, long c0, long c1) const {
        const long n_tiles = tiles(steps, 3 * M), rows = steps + (taps_ - 1) * dilation_, stride = n_tiles * depth_;
        for (long t = 0; t < n_tiles; t++) {
            const float* in[3 * M + N];
            rows_of<3 * M + N>(x, row_stride, first_row(t, 3 * M), rows, in);
            for (long c = c0; c < c1; c += W) {
                V tile[4][N];
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) transform_input<N>(bt_, in + k * M, c, tile[k]);
                float* to = v + t * depth_ + c;
#pragma GCC unroll 16
                for (int i = 0; i < N; i++) {
                    V out[OUTER];
                    outer_input(tile[0][i], tile[1][i], tile[2][i], tile[3][i], out);
#pragma GCC unroll 4
                    for (int o = 0; o < OUTER; o++) store(to + (i * OUTER + o) * stride, out[o]);
                }
            }
        }
    }

    template <int M, int N>
    void multiply_triples(const float* v, long steps, long first, long last, float* scratch, float* y,
                          long y_stride, const Epilogue& finish) const {
        const long n_tiles = tiles(steps, 3 * M), stride = n_tiles * depth_, product = MANY_TRIPLES * GROUP;
        for (long t0 = 0; t0 < n_tiles; t0 += MANY_TRIPLES) {
            const long count = std::min(MANY_TRIPLES, n_tiles - t0);
            for (int i = 0; i < N; i++)
                for (int o = 0; o < OUTER; o++) {
                    if (i == N - 1 && o == INFINITE) continue;
                    for (long column = first; column < last; column += panel_)
                        panel(panel_, count,
                              {v + (i * OUTER + o) * stride + t0 * depth_, depth_, 1, 0, depth_, weights(i, column, o)},
                              scratch + (i * OUTER + o) * product + (column - first), GROUP, {});
                }
            for (long t = 0; t < count; t++) {
                const long row = first_row(t0 + t, 3 * M);
                for (long column = first; column < last; column += W) {
                    const float* from = scratch + t * GROUP + (column - first);
                    V p[3][N], out[3 * M];
#pragma GCC unroll 16
                    for (int i = 0; i < N; i++) {
                        const float* q = from + i * OUTER * product;
                        outer_output(load(q), i == N - 1 ? V{} : load(q + INFINITE * product), load(q + PLUS * product),
                                     load(q + MINUS * product), p[0][i], p[1][i], p[2][i]);
                    }
#pragma GCC unroll 4
                    for (int k = 0; k < 3; k++) transform_output<M, N>(at_, p[k], out + k * M);
                    finish_tile<3 * M>(out, row, column, steps, y, y_stride, finish);
                }
            }
        }
    }

    template <int M>
    void finish_tile(const V* out, long row, long column, long steps, float* y, long y_stride,
                     const Epilogue& finish) const {
#pragma GCC unroll 16
        for (int k = 0; k < M; k++) {
            const long step = row + k * dilation_;
            if (step < steps) store(y + step * y_stride + column, finish(out[k], step, column));
        }
    }

    const long depth_, width_, taps_, dilation_;
    const int panel_;
    int outputs_ = 1, products_ = 1, parts_ = 1;
    Floats weights_;
    std::vector<float> zeros_;
    Splatted at_, bt_;
    using Expand = void (Convolution::*)(const float*, long, long, float*, long, long) const;
    using Multiply = void (Convolution::*)(const float*, long, long, long, float*, float*, long, const Epilogue&) const;
    Expand expand_ = nullptr, expand_triples_ = nullptr;
    Multiply multiply_ = nullptr, multiply_triples_ = nullptr;
};

}  // namespace dac
