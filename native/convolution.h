// y[t] = sum over j of x[t + j * dilation] W[j], rows of `depth` floats to rows of `width` floats: directly, or
// by Winograd's F(m, r) along time.
//
// In Winograd's form one tile makes m outputs of N = m + r - 1 inputs that lie `dilation` rows apart. Tiles are
// numbered so that `dilation` of them side by side make m * dilation neighbouring outputs: tile t begins at row
// (t / dilation) * m * dilation + t % dilation. Product i of all tiles is then one matrix product of rows,
// v[i][tile] times the transformed weights u[i], and nothing is moved to make it so.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "gemm.h"
#include "memory.h"
#include "team.h"
#include "winograd.h"

namespace dac {

// A weight of PyTorch's, [tap][channel][column] in its own order: the sum of three offsets says where each is.
// Channels and columns that are there only to pad a row have none, and weigh nothing.
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
    static constexpr long GROUP = 64;       // columns that are computed together: a multiple of every panel's
    static constexpr long MANY_TILES = 72;  // Winograd tiles that go from products to outputs at once

    // `matrices` null: directly.
    Convolution(const Weights& weights, long dilation, const Matrices* matrices, Team& team)
        : depth_(weights.channels.size()), width_(weights.columns.size()), taps_(weights.taps.size()),
          dilation_(dilation), panel_(panel_width(width_)) {
        if (matrices) {
            outputs_ = matrices->outputs;
            products_ = matrices->points();
            at_.set(matrices->at, outputs_, products_);
            bt_.set(matrices->bt, products_, products_);
            zeros_.assign(depth_, 0.0f);
            choose(outputs_, int(taps_));
        }
        weights_ = floats(size_t(matrices ? products_ : taps_) * depth_ * width_);
        team.each(width_ / panel_, [&](long p, int) { pack(p, matrices, weights); });
    }

    long depth() const { return depth_; }
    long width() const { return width_; }
    bool direct() const { return products_ == 1; }
    long span() const { return (taps_ - 1) * dilation_ + 1; }                   // rows that one output reads
    long granule() const { return direct() ? 1 : outputs_ * dilation_; }        // outputs that waste nothing
    long groups() const { return (width_ + GROUP - 1) / GROUP; }
    size_t expanded_floats(long steps) const { return direct() ? 0 : size_t(products_) * tiles(steps) * depth_; }
    size_t scratch_floats() const { return direct() ? 0 : size_t(products_) * MANY_TILES * GROUP; }

    // First half: v = B' x for channels from c0 to c1, of the rows that `steps` outputs read.
    void expand(const float* x, long row_stride, long steps, float* v, long c0, long c1) const {
        if (!direct()) (this->*expand_)(x, row_stride, steps, v, c0, c1);
    }

    // Second half: one group of columns of `steps` outputs, from v (or, directly, from x itself).
    void multiply(const float* x, long row_stride, const float* v, long steps, long group, float* scratch,
                  float* y, long y_stride, const Epilogue& finish) const {
        const long first = group * GROUP, last = std::min(width_, first + GROUP);
        if (!direct()) return (this->*multiply_)(v, steps, first, last, scratch, y, y_stride, finish);
        for (long column = first; column < last; column += panel_)
            panel(panel_, steps,
                  {x, row_stride, taps_, dilation_ * row_stride, depth_, weights_.get() + column * taps_ * depth_},
                  y + column, y_stride, finish.at(0, column));
    }

  private:
    long tiles(long steps) const {
        const long whole = outputs_ * dilation_;
        return steps / whole * dilation_ + std::min(dilation_, steps % whole);
    }

    long first_row(long tile) const { return tile / dilation_ * outputs_ * dilation_ + tile % dilation_; }

    void pack(long p, const Matrices* matrices, const Weights& weights) {
        const long first = p * panel_;
        if (!matrices) {
            float* to = weights_.get() + first * taps_ * depth_;
            for (long tap = 0; tap < taps_; tap++)
                for (long k = 0; k < depth_; k++)
                    for (int n = 0; n < panel_; n++) *to++ = weights(tap, k, first + n);
            return;
        }
        for (long k = 0; k < depth_; k++) {
            double from[16][2 * W];
            for (long tap = 0; tap < taps_; tap++)
                for (int n = 0; n < panel_; n++) from[tap][n] = weights(tap, k, first + n);
            for (long i = 0; i < products_; i++) {  // G g
                double sums[2 * W] = {};
                for (long tap = 0; tap < taps_; tap++)
                    for (int n = 0; n < panel_; n++) sums[n] += matrices->g[i * taps_ + tap] * from[tap][n];
                float* to = weights_.get() + (i * width_ + first) * depth_ + k * panel_;
                for (int n = 0; n < panel_; n++) to[n] = float(sums[n]);
            }
        }
    }

    void choose(int m, int r) {
        if (m == 6 && r == 7) use<6, 7>();
        else if (m == 4 && r == 2) use<4, 2>();
        else throw std::invalid_argument("no such Winograd transform");
    }

    template <int M, int R>
    void use() {
        expand_ = &Convolution::expand_tiles<M, R>;
        multiply_ = &Convolution::multiply_tiles<M, R>;
    }

    template <int M, int R>
    void expand_tiles(const float* x, long row_stride, long steps, float* v, long c0, long c1) const {
        constexpr int N = M + R - 1;
        const long n_tiles = tiles(steps), rows = steps + (R - 1) * dilation_;
        for (long t = 0; t < n_tiles; t++) {
            const float* in[N];
            for (int i = 0; i < N; i++) {
                const long row = first_row(t) + i * dilation_;
                in[i] = row < rows ? x + row * row_stride : zeros_.data();  // the last tiles may reach too far
            }
            for (long c = c0; c < c1; c += W)
                transform_input<M, R>(bt_, in, c, v + t * depth_ + c, n_tiles * depth_);
        }
    }

    template <int M, int R>
    void multiply_tiles(const float* v, long steps, long first, long last, float* scratch, float* y,
                        long y_stride, const Epilogue& finish) const {
        constexpr int N = M + R - 1;
        const long n_tiles = tiles(steps), product_stride = MANY_TILES * GROUP;
        for (long t0 = 0; t0 < n_tiles; t0 += MANY_TILES) {
            const long count = std::min(MANY_TILES, n_tiles - t0);
            for (int i = 0; i < N; i++)
                for (long column = first; column < last; column += panel_)
                    panel(panel_, count,
                          {v + (i * n_tiles + t0) * depth_, depth_, 1, 0, depth_,
                           weights_.get() + (i * width_ + column) * depth_},
                          scratch + i * product_stride + (column - first), GROUP, {});
            for (long t = 0; t < count; t++) {
                const long row = first_row(t0 + t);
                for (long column = first; column < last; column += W) {
                    V out[M];
                    transform_output<M, R>(at_, scratch + t * GROUP + (column - first), product_stride, out);
#pragma GCC unroll 8
                    for (int k = 0; k < M; k++) {
                        const long step = row + k * dilation_;
                        if (step < steps) store(y + step * y_stride + column, finish(out[k], step, column));
                    }
                }
            }
        }
    }

    const long depth_, width_, taps_, dilation_;
    const int panel_;
    int outputs_ = 1, products_ = 1;
    Floats weights_;
    std::vector<float> zeros_;
    Splatted at_, bt_;
    void (Convolution::*expand_)(const float*, long, long, float*, long, long) const = nullptr;
    void (Convolution::*multiply_)(const float*, long, long, long, float*, float*, long, const Epilogue&) const =
        nullptr;
};

}  // namespace dac
