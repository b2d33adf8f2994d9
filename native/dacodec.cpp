// The C interface: only checks of untrusted input, and exceptions turned into return values.
#include "dacodec.h"

#include <string>

#include "network.h"
#include "quantizer.h"

namespace {

thread_local std::string last_error;

// A team for the duration of one call.
struct Hired {
    std::unique_ptr<dac::Team> team;
    explicit Hired(int threads) : team(dac::Teams::take(std::max(1, threads))) {}
    ~Hired() { dac::Teams::give_back(std::move(team)); }
};

template <class Result, class F>
Result guarded(Result failure, F f) {
    try {
        return f();
    } catch (const std::exception& e) {
        last_error = e.what();
        return failure;
    }
}

dac::Network* network_of(const void* handle) {
    return static_cast<dac::Network*>(const_cast<void*>(handle));
}

}  // namespace

const char* dac_target(void) { return DAC_TARGET; }

const char* dac_best_target(void) {
#if defined(__x86_64__)
    const auto has = [](auto... feature) { return (feature && ...); };
    if (has(__builtin_cpu_supports("avx512f"), __builtin_cpu_supports("avx512vl"),
            __builtin_cpu_supports("avx512bw"), __builtin_cpu_supports("avx512dq"), __builtin_cpu_supports("fma")))
        return "avx512";
    if (has(__builtin_cpu_supports("avx2"), __builtin_cpu_supports("fma"))) return "avx2";
#endif
    return "generic";
}

const char* dac_error(void) { return last_error.c_str(); }

void* dac_network(const struct dac_layer* layers, int32_t count, int32_t threads) {
    return guarded<void*>(nullptr, [&]() -> void* {
        Hired hired(threads);
        return new dac::Network(layers, count, *hired.team);
    });
}

void dac_network_free(void* network) { delete network_of(network); }

int64_t dac_state_bytes(const void* network) { return int64_t(network_of(network)->state_bytes()); }

void dac_state_init(const void* network, void* state) { network_of(network)->init(state); }

int64_t dac_push(void* network, void* state, const float* in, int64_t rows, float* out, int64_t capacity,
                 int32_t end, int32_t threads) {
    return guarded<int64_t>(-1, [&] {
        Hired hired(threads);
        return int64_t(network_of(network)->push(state, in, rows, out, capacity, end, *hired.team));
    });
}

void* dac_quantizer(const struct dac_quantizer_weights* weights) {
    return guarded<void*>(nullptr, [&]() -> void* {
        Hired hired(1);
        return new dac::Quantizer(*weights, *hired.team);
    });
}

void dac_quantizer_free(void* quantizer) { delete static_cast<dac::Quantizer*>(quantizer); }

int32_t dac_quantize(const void* quantizer, const float* latents, int64_t frames, int32_t n_quantizers,
                     int64_t* codes, int32_t threads) {
    return guarded<int32_t>(-1, [&] {
        Hired hired(threads);
        static_cast<const dac::Quantizer*>(quantizer)->quantize(latents, frames, n_quantizers, codes, *hired.team);
        return 0;
    });
}

int64_t dac_multiply_adds(int64_t rounds) {
    constexpr int CHAINS = 12;  // enough to hide the latency
    dac::V sums[CHAINS];
    for (int c = 0; c < CHAINS; c++) sums[c] = dac::splat(float(c));  // if all were equal, some would be optimised away
    const dac::V factor = dac::splat(float(rounds) * 1e-12f), term = dac::splat(1e-9f);
    for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) sums[c] = sums[c] * factor + term;
    for (int c = 1; c < CHAINS; c++) sums[0] += sums[c];
    return dac::sum(sums[0]) < 0 ? 0 : rounds * CHAINS * dac::W;  // uses the sums, so that they are computed
}
