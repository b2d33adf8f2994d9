// One vector of W floats, in GCC's and Clang's vector types, and the functions the network needs of it.
//
// This source names no instruction set: it is compiled once for each (see setup.py), and W and the number of
// registers follow from the compiler's target.
#pragma once

#include <cstring>

namespace dac {

#if defined(__AVX512F__)
constexpr int W = 16, TILE_ROWS = 12;  // 32 registers: 24 sums, 2 of weights
#elif defined(__AVX__)
constexpr int W = 8, TILE_ROWS = 6;  // 16 registers: 12 sums, 2 of weights
#elif defined(__aarch64__)
constexpr int W = 4, TILE_ROWS = 12;  // 32 registers
#else
constexpr int W = 4, TILE_ROWS = 6;
#endif

typedef float V __attribute__((vector_size(W * sizeof(float))));

#define DAC_INLINE static inline __attribute__((always_inline))

// Copies rather than casts: no alignment is required, and no aliasing rule is broken.
DAC_INLINE V load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

DAC_INLINE void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }

DAC_INLINE V splat(float x) { return x - V{}; }  // subtracting zero is exact, so nothing is computed

DAC_INLINE V smaller(V a, V b) { return a < b ? a : b; }

DAC_INLINE V larger(V a, V b) { return a > b ? a : b; }

DAC_INLINE float sum(V v) {
    float s = 0;
    for (int i = 0; i < W; i++) s += v[i];
    return s;
}

// Snake: x + sin(a x)^2 / a. The square has period pi, so its argument is brought to -pi/2..pi/2, where an odd
// polynomial of degree 9 gives the sine to one unit in the last place.
DAC_INLINE V snake(V x, V a, V inverse_a) {
    const V t = a * x;
    const V big = splat(12582912.0f);  // 1.5 * 2^23: adding and subtracting it rounds to an integer
    const V k = (t * 0.318309886183790672f + big) - big;
    V r = t - k * 3.140625f;  // pi in three parts, the first two short enough for exact products
    r = r - k * 9.67502593994140625e-4f;
    r = r - k * 1.50995799e-7f;
    r = larger(smaller(r, splat(1.6f)), splat(-1.6f));  // arguments beyond 2^22 have no phase left, but stay finite
    const V s = r * r;
    V u = s * 2.6083159809786593541503e-06f + -0.0001981069071916863322258f;
    u = u * s + 0.00833307858556509017944336f;
    u = u * s + -0.166666597127914428710938f;
    const V sine = r + s * r * u;
    return x + sine * sine * inverse_a;
}

}  // namespace dac
