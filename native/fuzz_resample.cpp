// Random ratios, signals and cuts, for the sanitizers (make sanitize): outputs computed in parts, from no more
// inputs than they need, must equal those of the whole to the last bit, and nearly those of a sum in float64.
#include "resample.cpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

namespace {

std::mt19937 rng;

int64_t below(int64_t n) { return int64_t(rng() % uint64_t(n)); }

void check(bool right, const char* what) {
    if (!right) std::printf("%s\n", what), std::exit(1);
}

// Exactly as many as may be read, so that reading one too many is detected.
template <class T>
std::vector<T> random(int64_t n) {
    std::vector<T> values(n);
    for (T& value : values) value = T(below(2001)) / T(1000) - 1;
    return values;
}

// A filter for one ratio, in either form; this test does not compute taps between two steps of the curves.
struct Filter {
    int64_t down, up, reach, times = 1;
    std::vector<int64_t> first;
    std::vector<float> table_taps;
    std::vector<double> curve_taps;
    dac_resample_table table;
    dac_resample_curves curves;
    bool by_table = below(2);

    Filter() : down(1 + below(below(2) ? 9 : 400)), up(1 + below(below(2) ? 9 : 400)), reach(1 + below(50)) {
        const int64_t size = 2 * reach + 1, steps = 3 + below(9);
        curve_taps = random<double>((steps + 1) * size);
        curves = {down, up, reach, steps, curve_taps.data()};
        if (!by_table) return;
        times = 1 + below(16);
        const int64_t block = times * up, groups = (block + LANES - 1) / LANES;
        const int64_t window = size + ((LANES - 1) * down + up - 1) / up;
        table_taps.resize(groups * window * LANES);
        for (int64_t g = 0; g < groups; g++) {
            first.push_back(g * LANES * down / up - reach);
            for (int64_t lane = 0; lane < LANES; lane++) {
                const int64_t n = g * LANES + lane, row = n * down / up - g * LANES * down / up;
                interpolate(curves, double(n * down % up) / double(up),
                            &table_taps[(g * window + row) * LANES + lane]);
            }
        }
        table = {times * down, block, window, first.data(), table_taps.data()};
    }

    // Outputs ``start`` to ``stop``, from a copy of only the part of ``signal`` [channels][length] that they depend on.
    std::vector<float> run(const std::vector<float>& signal, int64_t channels, int64_t start, int64_t stop) const {
        const int64_t length = int64_t(signal.size()) / channels;
        const int64_t origin = std::clamp<int64_t>(start * down / up - reach, -reach, length);
        const int64_t end = std::clamp<int64_t>((stop - 1) * down / up + reach + 1, origin, length);
        std::vector<float> part(channels * (end - origin)), outputs(channels * (stop - start));
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = std::max<int64_t>(origin, 0); i < end; i++)
                part[c * (end - origin) + i - origin] = signal[c * length + i];
        const dac_resample_input input = {part.data(), channels, end - origin, origin};
        const dac_resample_output output = {outputs.data(), start, stop};
        check(by_table ? dac_resample_by_table(&table, &input, &output)
                       : dac_resample_by_curves(&curves, &input, &output),
              "no memory");
        return outputs;
    }

    double exact(const float* signal, int64_t length, int64_t n) const {
        std::vector<float> taps((2 * reach + 1) * LANES);
        interpolate(curves, double(n * down % up) / double(up), taps.data());
        double sum = 0;
        for (int64_t k = 0; k <= 2 * reach; k++)
            if (const int64_t i = n * down / up + k - reach; i >= 0 && i < length)
                sum += double(signal[i]) * double(taps[k * LANES]);
        return sum;
    }
};

void try_filter() {
    const Filter filter;
    const int64_t channels = 1 + below(3), length = 1 + below(below(2) ? 50 : 3000);
    const auto signal = random<float>(channels * length);
    const int64_t n = (length * filter.up + filter.down - 1) / filter.down;
    const auto whole = filter.run(signal, channels, 0, n);
    for (int64_t start = 0, stop; start < n; start = stop) {
        stop = std::min(n, start + below(below(2) ? 20 : n + 1));
        const auto part = filter.run(signal, channels, start, stop);
        for (int64_t c = 0; c < channels; c++)
            check(start == stop ||
                  !std::memcmp(part.data() + c * (stop - start), whole.data() + c * n + start,
                               (stop - start) * sizeof(float)),
                  "cuts show");
    }
    for (int i = 0; i < 20; i++) {
        const int64_t c = below(channels), at = below(n);
        const double exact = filter.exact(signal.data() + c * length, length, at);
        check(std::abs(whole[c * n + at] - exact) < 1e-5 * double(filter.reach + 1), "another sum");
    }
    std::vector<float> other;
    std::thread thread([&] { other = filter.run(signal, channels, 0, n); });
    check(filter.run(signal, channels, 0, n) == whole, "calls at once show");
    thread.join();
    check(other == whole, "calls at once show");
}

}  // namespace

int main(int count, char** arguments) {
    const long rounds = count > 1 ? std::atol(arguments[1]) : 100;
    for (long i = 0; i < rounds; i++) {
        rng.seed(unsigned(i));
        try_filter();
    }
    std::printf("%ld resampled signals\n", rounds);
}
