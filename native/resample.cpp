// Sampling rate conversion: the sums of audio/resampling.py, sixteen outputs at once. Called by audio/compiled.py.
//
// Sixteen consecutive outputs read nearly the same inputs, so all of them read one window that covers them all, with zero
// taps where an output does not use an input. An input times a row of taps is then one step of all sixteen sums.
// Where a group of outputs starts depends only on their numbers, and the terms of a sum are added in a fixed order: from
// both ends of the window to its middle, where the large taps are, so that few roundings affect large sums. Hence the
// bytes are the same however the signal is cut and for every instruction set (setup.py forbids fused multiply-adds).
#include <stdint.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "vector.h"

#if defined(_WIN32)
#define DAC_EXPORT extern "C" __declspec(dllexport)
#else
#define DAC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// All taps as one table, if they repeat after few outputs. ``up`` outputs make a block.
struct dac_resample_table {
    int64_t down, up;      // inputs and outputs of a block
    int64_t window;        // inputs that a group of 16 outputs reads
    const int64_t* first;  // [ceil(up / 16)] the first input of each group, counted from the block's first input
    const float* taps;     // [ceil(up / 16)][window][16]
};

// If they do not: taps at instants between two inputs, close enough for cubic interpolation of all others.
struct dac_resample_curves {
    int64_t down, up;    // input and output rates in lowest terms
    int64_t reach;       // inputs to each side of an output's instant
    int64_t steps;       // from one input to the next, 3 at least
    const double* taps;  // [steps + 1][2 * reach + 1]
};

// Part of a signal: samples [channels][length], the first of which is number ``origin``, surrounded by zeros.
struct dac_resample_input {
    const float* samples;
    int64_t channels, length, origin;
};

// Buffer for outputs ``start`` to ``stop``: [channels][stop - start].
struct dac_resample_output {
    float* samples;
    int64_t start, stop;
};

namespace {

using dac::load;
using dac::splat;
using dac::store;
using dac::V;

constexpr int LANES = 16, VECTORS = LANES / dac::W;
#if defined(__AVX__) || defined(__aarch64__)
constexpr int TOGETHER = 4;  // groups that share each load of taps
#else
constexpr int TOGETHER = 2;  // 16 registers of 4 lanes: 8 sums, a row of taps, an input, a product
#endif
constexpr int64_t STRETCH = 1 << 14;  // inputs that stay in the cache while the groups' taps pass by

using Lanes = float[LANES];

// One end of the window: sums[g] = inputs[g] times rows of taps, from row ``from`` on, ``n`` of them in steps of ``step``.
template <int GROUPS>
DAC_INLINE void sum_side(const float* taps, const float* const* inputs, int64_t from, int64_t n, int64_t step,
                         V (&sums)[GROUPS][VECTORS]) {
    for (auto& sum : sums)
        for (V& lanes : sum) lanes = V{};
    for (int64_t i = 0, row = from; i < n; i++, row += step) {
        V t[VECTORS];
        for (int v = 0; v < VECTORS; v++) t[v] = load(taps + row * LANES + v * dac::W);
        for (int g = 0; g < GROUPS; g++) {
            const V x = splat(inputs[g][row]);
            for (int v = 0; v < VECTORS; v++) sums[g][v] += x * t[v];
        }
    }
}

// The outputs of groups that have the same taps.
template <int GROUPS>
void sum_groups(const float* taps, int64_t window, const float* const* inputs, Lanes* outputs) {
    const int64_t half = window / 2;
    V left[GROUPS][VECTORS], right[GROUPS][VECTORS];
    sum_side(taps, inputs, 0, half, 1, left);
    sum_side(taps, inputs, window - 1, window - half, -1, right);
    for (int g = 0; g < GROUPS; g++)
        for (int v = 0; v < VECTORS; v++) store(outputs[g] + v * dac::W, left[g][v] + right[g][v]);
}

// Windows of a channel's inputs: in place, or copied with zeros where they reach beyond the samples.
class Windows {
  public:
    Windows(const dac_resample_input& input, int64_t window)
        : input_(input), window_(window), copies_(TOGETHER * window) {}

    const float* at(int64_t channel, int64_t first, int slot) {
        const float* samples = input_.samples + channel * input_.length;
        const int64_t begin = first - input_.origin;
        if (begin >= 0 && begin + window_ <= input_.length) return samples + begin;
        float* copy = copies_.data() + slot * window_;
        const int64_t from = std::clamp<int64_t>(begin, 0, input_.length);
        const int64_t to = std::clamp<int64_t>(begin + window_, from, input_.length);
        std::fill(copy, copy + window_, 0.0f);
        if (from < to) std::copy(samples + from, samples + to, copy + (from - begin));
        return copy;
    }

  private:
    const dac_resample_input& input_;
    int64_t window_;
    std::vector<float> copies_;
};

// Stores those of the first ``n`` lanes that are requested; lane 0 is output ``first``.
void put(const Lanes& lanes, int64_t n, int64_t channel, int64_t first, const dac_resample_output& output) {
    const int64_t from = std::max(first, output.start), to = std::min(first + n, output.stop);
    float* samples = output.samples + channel * (output.stop - output.start);
    if (from < to) std::copy(lanes + (from - first), lanes + (to - first), samples + (from - output.start));
}

// One group of outputs of blocks ``block`` to ``block + GROUPS``.
template <int GROUPS>
void put_blocks(const dac_resample_table& table, int64_t group, int64_t channel, int64_t block, Windows& windows,
                const dac_resample_output& output) {
    const float* inputs[GROUPS];
    Lanes lanes[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        inputs[g] = windows.at(channel, (block + g) * table.down + table.first[group], g);
    sum_groups<GROUPS>(table.taps + group * table.window * LANES, table.window, inputs, lanes);
    for (int g = 0; g < GROUPS; g++)
        put(lanes[g], std::min<int64_t>(LANES, table.up - group * LANES), channel,
            (block + g) * table.up + group * LANES, output);
}

void resample_by_table(const dac_resample_table& table, const dac_resample_input& input,
                       const dac_resample_output& output) {
    Windows windows(input, table.window);
    const int64_t stretch = std::max<int64_t>(TOGETHER, STRETCH / table.down);  // blocks
    const int64_t end = (output.stop + table.up - 1) / table.up;
    for (int64_t channel = 0; channel < input.channels; channel++)
        for (int64_t begin = output.start / table.up; begin < end; begin += stretch)
            for (int64_t group = 0; group * LANES < table.up; group++) {
                const int64_t first = group * LANES, last = std::min(first + LANES, table.up) - 1;
                int64_t block = begin, until = std::min(begin + stretch, end);
                if (block * table.up + last < output.start) block++;
                if ((until - 1) * table.up + first >= output.stop) until--;
                for (; block + TOGETHER <= until; block += TOGETHER)
                    put_blocks<TOGETHER>(table, group, channel, block, windows, output);
                for (; block < until; block++) put_blocks<1>(table, group, channel, block, windows, output);
            }
}

// Writes the taps of one output, ``phase`` after an input, into one lane of a table.
void interpolate(const dac_resample_curves& curves, double phase, float* lane) {
    const int64_t size = 2 * curves.reach + 1;
    const double place = phase * double(curves.steps);
    const int64_t row = std::clamp<int64_t>(int64_t(place) - 1, 0, curves.steps - 3);
    const double t = place - double(row);  // Lagrange's polynomial through the values at 0, 1, 2, 3
    const double a = (t - 1) * (t - 2) * (t - 3) / -6, b = t * (t - 2) * (t - 3) / 2;
    const double c = t * (t - 1) * (t - 3) / -2, d = t * (t - 1) * (t - 2) / 6;
    const double* p = curves.taps + row * size;
    for (int64_t k = 0; k < size; k++)
        lane[k * LANES] =
            float((a * p[k] + b * p[k + size]) + (c * p[k + 2 * size] + d * p[k + 3 * size]));
}

void resample_by_curves(const dac_resample_curves& curves, const dac_resample_input& input,
                        const dac_resample_output& output) {
    const int64_t down = curves.down, up = curves.up;
    const int64_t window = 2 * curves.reach + 1 + ((LANES - 1) * down + up - 1) / up;
    Windows windows(input, window);
    std::vector<float> taps(window * LANES);
    for (int64_t n = output.start / LANES * LANES; n < output.stop; n += LANES) {
        const int64_t base = n * down / up;
        std::fill(taps.begin(), taps.end(), 0.0f);
        for (int64_t lane = 0; lane < LANES; lane++) {
            const int64_t instant = (n + lane) * down;
            interpolate(curves, double(instant % up) / double(up), &taps[(instant / up - base) * LANES + lane]);
        }
        for (int64_t channel = 0; channel < input.channels; channel++) {
            const float* inputs = windows.at(channel, base - curves.reach, 0);
            Lanes lanes;
            sum_groups<1>(taps.data(), window, &inputs, &lanes);
            put(lanes, LANES, channel, n, output);
        }
    }
}

}  // namespace

// The best library built from this source for this processor.
DAC_EXPORT const char* dac_resample_best_target(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return "avx512";
    if (__builtin_cpu_supports("avx2")) return "avx2";
#endif
    return "generic";
}

// Computes the requested outputs. False if memory runs out.
DAC_EXPORT int32_t dac_resample_by_table(const struct dac_resample_table* table,
                                         const struct dac_resample_input* input,
                                         const struct dac_resample_output* output) try {
    resample_by_table(*table, *input, *output);
    return true;
} catch (...) {
    return false;
}

DAC_EXPORT int32_t dac_resample_by_curves(const struct dac_resample_curves* curves,
                                          const struct dac_resample_input* input,
                                          const struct dac_resample_output* output) try {
    resample_by_curves(*curves, *input, *output);
    return true;
} catch (...) {
    return false;
}
