// The layers, each as a step over rows of its input, with the weights and buffers that the step needs.
#pragma once

#include <cmath>
#include <memory>

#include "convolution.h"
#include "dacodec.h"

namespace dac {

// Rows of a layer that one thread computes at once, so that intermediate results stay in its cache.
constexpr long BLOCK_ROWS = 216;
constexpr long BLOCK_ROWS_WIDE = 432;  // for weights larger than the cache, so that each is used more often
constexpr long WIDE = 512;
// With fewer rows per thread than this, threads divide the columns instead.
constexpr long FEW_ROWS = 108;

// How many rows of a given width a layer waits for: more for narrow rows; otherwise threads synchronise too often.
inline long chunk_rows(long width) { return std::clamp(110592 / width, 1728L, 6912L); }

inline long round_up(long x, long unit) { return (x + unit - 1) / unit * unit; }

// Buffer space in floats that a layer needs for a number of steps, besides its inputs and outputs.
struct Needs {
    size_t snaked = 0, expanded = 0, hidden = 0, products = 0;
    void cover(const Needs& other) {
        snaked = std::max(snaked, other.snaked);
        expanded = std::max(expanded, other.expanded);
        hidden = std::max(hidden, other.hidden);
        products = std::max(products, other.products);
    }
};

struct Room {
    Floats snaked, expanded, hidden, products;
    explicit Room(const Needs& n)
        : snaked(floats(n.snaked)), expanded(floats(n.expanded)), hidden(floats(n.hidden)),
          products(floats(n.products)) {}
};

// A buffer for each thread, and a shared one.
struct Rooms {
    Room shared;
    std::vector<Room> own;
};

// Steps that one thread computes at once, at most.
inline long most_steps(long width, long granule) {
    return round_up(width >= WIDE ? BLOCK_ROWS_WIDE : BLOCK_ROWS, granule);
}

// How the steps of one run are divided: into blocks of rows or, if there are few, into groups of columns.
struct Shares {
    bool by_columns;
    long block;
    Shares(long steps, long granule, long width, long groups, int threads) {
        const long most = most_steps(width, granule);
        by_columns = steps < FEW_ROWS * threads && groups >= threads && threads > 1;
        const long count = round_up((steps + most - 1) / most, threads);
        block = round_up((steps + count - 1) / count, granule);
    }
};

// Offsets of the channels, `stride` apart, and none for those that pad to `width`.
inline void append(std::vector<long>& offsets, long channels, long width, long stride, long first = 0) {
    for (long c = 0; c < width; c++) offsets.push_back(c < channels ? first + c * stride : Weights::NONE);
}

// A bias of `channels` values, padded with zeros to `width`.
inline std::vector<float> padded(const float* values, long channels, long width) {
    std::vector<float> v(width, 0.0f);
    std::copy(values, values + channels, v.begin());
    return v;
}

struct SnakeWeights {
    std::vector<float> alpha, inverse;
    SnakeWeights() = default;
    SnakeWeights(const float* values, long channels, long width, long repeats = 1) {
        for (long r = 0; r < repeats; r++)
            for (long c = 0; c < width; c++) {
                const float a = c < channels ? values[c] : 0.0f;
                alpha.push_back(a);
                inverse.push_back(c < channels ? 1.0f / (a + 1e-9f) : 0.0f);
            }
    }
    void apply(const float* x, float* y, long rows, long stride, long c0, long c1) const {
        for (long r = 0; r < rows; r++)
            for (long c = c0; c < c1; c += W)
                store(y + r * stride + c,
                      snake(load(x + r * stride + c), load(alpha.data() + c), load(inverse.data() + c)));
    }
    void into(Epilogue& e) const {
        if (!alpha.empty()) e.alpha = alpha.data(), e.inverse_alpha = inverse.data();
    }
};

// Steps over rows. Step i reads the rows from i * rows_in to i * rows_in + span - 1 and makes rows_out rows.
class Layer {
  public:
    virtual ~Layer() = default;
    long in_width, out_width;
    long rows_in = 1, rows_out = 1, span = 1;
    long padding = 0;  // zero rows before the signal's first and after its last
    long trim = 0;     // rows to drop from the first and last outputs
    long chunk = 1;    // most steps of one run, and how many to wait for while more may come

    // The number of steps that the rows are enough for.
    long steps(long rows) const { return rows < span ? 0 : (rows - span) / rows_in + 1; }
    virtual Needs needs(long steps) const = 0;
    virtual void run(const float* x, long steps, float* y, Team& team, Rooms& rooms) const = 0;
    virtual long block() const = 0;  // most steps that one thread computes at once
};

// A plain, strided or transposed convolution. With a kernel of 2 * stride the latter two are convolutions of two
// taps, stepping by one, over grouped rows: `stride` rows of the input form one that is `stride` times as
// wide, or one row of the output is cut into `stride`.
class ConvLayer : public Layer {
  public:
    ConvLayer(const dac_layer& l, const Matrices* matrices, Team& team) {
        in_width = l.in_width, out_width = l.out_width;
        const bool up = l.kind == DAC_UP, down = l.kind == DAC_DOWN;
        rows_in = down ? l.stride : 1;
        rows_out = up ? l.stride : 1;
        const long taps = up || down ? 2 : l.kernel;
        span = rows_in * taps;
        padding = up ? 1 : l.padding;
        trim = up ? l.padding : 0;
        // [out, in, kernel], or, transposed, [in, out, kernel].
        const long in_stride = up ? l.out_channels * l.kernel : l.kernel;
        const long out_stride = up ? l.kernel : l.in_channels * l.kernel;
        Weights weights{l.weight, {}, {}, {}};
        // Transposed: the row before uses the last taps, the row itself the first.
        for (long tap = 0; tap < taps; tap++) weights.taps.push_back(up ? (1 - tap) * l.stride : tap * rows_in);
        for (long row = 0; row < rows_in; row++) append(weights.channels, l.in_channels, in_width, in_stride, row);
        for (long row = 0; row < rows_out; row++) append(weights.columns, l.out_channels, out_width, out_stride, row);
        conv_ = std::make_unique<Convolution>(weights, 1, matrices, team);
        for (long r = 0; r < rows_out; r++) {
            const auto one = padded(l.bias, l.out_channels, out_width);
            bias_.insert(bias_.end(), one.begin(), one.end());
        }
        if (l.activation == DAC_SNAKE) snake_ = SnakeWeights(l.alpha, l.out_channels, out_width, rows_out);
        chunk = round_up(std::max(432L, chunk_rows(in_width) / (rows_in * rows_out)), conv_->granule());
    }

    Needs needs(long steps) const override {
        Needs n;
        n.expanded = conv_->expanded_floats(steps);
        n.products = conv_->scratch_floats();
        return n;
    }

    long block() const override { return most_steps(conv_->depth(), conv_->granule()); }

    void run(const float* x, long steps, float* y, Team& team, Rooms& rooms) const override {
        const long depth = conv_->depth(), width = conv_->width(), groups = conv_->groups();
        const Shares shares(steps, conv_->granule(), depth, groups, team.size());
        const bool triples = conv_->in_triples(steps);
        Epilogue finish;
        finish.bias = bias_.data();
        snake_.into(finish);
        if (shares.by_columns) {
            float* v = rooms.shared.expanded.get();
            const long slice = Convolution::GROUP, slices = (depth + slice - 1) / slice;
            if (!conv_->direct())
                team.each(slices, [&](long i, int) {
                    conv_->expand(triples, x, depth, steps, v, i * slice, std::min(depth, (i + 1) * slice));
                });
            team.each(groups, [&](long g, int worker) {
                conv_->multiply(triples, x, depth, v, steps, g, rooms.own[worker].products.get(), y, width, finish);
            });
            return;
        }
        team.each((steps + shares.block - 1) / shares.block, [&](long b, int worker) {
            Room& room = rooms.own[worker];
            const long first = b * shares.block, count = std::min(shares.block, steps - first);
            const float* from = x + first * depth;
            conv_->expand(triples, from, depth, count, room.expanded.get(), 0, depth);
            for (long g = 0; g < groups; g++)
                conv_->multiply(triples, from, depth, room.expanded.get(), count, g, room.products.get(),
                                y + first * width, width, finish);
        });
    }

  private:
    std::unique_ptr<Convolution> conv_;
    std::vector<float> bias_;
    SnakeWeights snake_;
};

// Snake, dilated convolution, Snake, 1x1 convolution, plus the input.
class UnitLayer : public Layer {
  public:
    UnitLayer(const dac_layer& l, const Matrices* matrices, Team& team) {
        const long channels = l.in_channels, kernel = l.kernel;
        in_width = out_width = l.in_width;
        padding = l.padding;
        Weights weights{l.weight, {}, {}, {}}, weights2{l.weight2, {0}, {}, {}};
        for (long tap = 0; tap < kernel; tap++) weights.taps.push_back(tap);
        append(weights.channels, channels, in_width, kernel);
        append(weights.columns, channels, in_width, channels * kernel);
        append(weights2.channels, channels, in_width, 1);
        append(weights2.columns, channels, in_width, channels);
        conv_ = std::make_unique<Convolution>(weights, l.dilation, matrices, team);
        point_ = std::make_unique<Convolution>(weights2, 1, nullptr, team);
        span = conv_->span();
        bias_ = padded(l.bias, channels, in_width);
        bias2_ = padded(l.bias2, channels, in_width);
        snake1_ = SnakeWeights(l.alpha1, channels, in_width);
        snake2_ = SnakeWeights(l.alpha2, channels, in_width);
        if (l.activation == DAC_SNAKE) after_ = SnakeWeights(l.alpha, channels, in_width);
        chunk = round_up(in_width >= WIDE ? 864 : chunk_rows(in_width), conv_->granule());
    }

    Needs needs(long steps) const override {
        Needs n;
        n.snaked = (steps + span - 1) * in_width;
        n.expanded = conv_->expanded_floats(steps);
        n.hidden = steps * in_width;
        n.products = conv_->scratch_floats();
        return n;
    }

    long block() const override { return most_steps(in_width, conv_->granule()); }

    void run(const float* x, long steps, float* y, Team& team, Rooms& rooms) const override {
        const long groups = conv_->groups();
        const Shares shares(steps, conv_->granule(), in_width, groups, team.size());
        const bool triples = conv_->in_triples(steps);
        if (shares.by_columns) {
            Room& room = rooms.shared;
            team.each(groups, [&](long g, int) {
                expand(triples, x, steps, room, g * Convolution::GROUP, std::min(in_width, (g + 1) * Convolution::GROUP));
            });
            team.each(groups, [&](long g, int worker) { multiply(triples, steps, room, rooms.own[worker], g); });
            team.each(groups, [&](long g, int) { project(x, steps, room, y, g); });
            return;
        }
        team.each((steps + shares.block - 1) / shares.block, [&](long b, int worker) {
            Room& room = rooms.own[worker];
            const long first = b * shares.block, count = std::min(shares.block, steps - first);
            const float* from = x + first * in_width;
            expand(triples, from, count, room, 0, in_width);
            for (long g = 0; g < groups; g++) multiply(triples, count, room, room, g);
            for (long g = 0; g < groups; g++) project(from, count, room, y + first * in_width, g);
        });
    }

  private:
    void expand(bool triples, const float* x, long steps, Room& room, long c0, long c1) const {
        snake1_.apply(x, room.snaked.get(), steps + span - 1, in_width, c0, c1);
        conv_->expand(triples, room.snaked.get(), in_width, steps, room.expanded.get(), c0, c1);
    }

    void multiply(bool triples, long steps, Room& room, Room& own, long group) const {
        Epilogue finish;
        finish.bias = bias_.data();
        snake2_.into(finish);
        conv_->multiply(triples, room.snaked.get(), in_width, room.expanded.get(), steps, group, own.products.get(),
                        room.hidden.get(), in_width, finish);
    }

    void project(const float* x, long steps, Room& room, float* y, long group) const {
        Epilogue finish;
        finish.bias = bias2_.data();
        finish.add = x + padding * in_width;
        finish.add_stride = in_width;
        after_.into(finish);
        point_->multiply(false, room.hidden.get(), in_width, nullptr, steps, group, nullptr, y, in_width, finish);
    }

    std::unique_ptr<Convolution> conv_, point_;
    std::vector<float> bias_, bias2_;
    SnakeWeights snake1_, snake2_, after_;
};

// A convolution to a single channel, and tanh: the decoder's last. One sample is one dot product.
class ToAudioLayer : public Layer {
  public:
    explicit ToAudioLayer(const dac_layer& l) : bias_(l.bias[0]) {
        in_width = l.in_width, out_width = 1;
        span = l.kernel;
        padding = l.padding;
        chunk = chunk_rows(in_width);
        weights_.assign(l.kernel * in_width, 0.0f);
        for (long tap = 0; tap < l.kernel; tap++)
            for (long c = 0; c < l.in_channels; c++) weights_[tap * in_width + c] = l.weight[c * l.kernel + tap];
    }

    Needs needs(long) const override { return {}; }
    long block() const override { return 1; }

    void run(const float* x, long steps, float* y, Team& team, Rooms&) const override {
        const long terms = span * in_width, block = BLOCK_ROWS;
        team.each((steps + block - 1) / block, [&](long b, int) {
            for (long t = b * block; t < std::min(steps, (b + 1) * block); t++) {
                const float* row = x + t * in_width;
                V even = {}, odd = {};
                for (long k = 0; k + W <= terms; k += 2 * W) {
                    even += load(row + k) * load(weights_.data() + k);
                    if (k + W < terms) odd += load(row + k + W) * load(weights_.data() + k + W);
                }
                y[t] = std::tanh(sum(even + odd) + bias_);
            }
        });
    }

  private:
    std::vector<float> weights_;
    const float bias_;
};

inline std::unique_ptr<Layer> make_layer(const dac_layer& l, Team& team) {
    Matrices matrices;
    if (l.winograd) {
        const dac_winograd& w = *l.winograd;
        matrices = {w.outputs, w.taps, w.at, w.g, w.bt};
    }
    const Matrices* used = l.winograd ? &matrices : nullptr;
    if (l.kind == DAC_UNIT) return std::make_unique<UnitLayer>(l, used, team);
    if (l.out_width == 1) return std::make_unique<ToAudioLayer>(l);
    return std::make_unique<ConvLayer>(l, used, team);
}

}  // namespace dac
