// The C interface of the native engine, as engine/native/library.py calls it.
//
// A network is a chain of layers over rows: one row is one time step, all its channels side by side. It takes
// rows piece by piece and returns the outputs they complete; what later rows will need is in the state, a block of
// plain bytes that the caller owns and may copy, keep and send. A whole signal is one push that also ends it.
//
// A row has as many floats as the layer's width: the channels, padded with zeros to a multiple of 16. Only audio
// has one float per row.
//
// Every function may be called from several threads at once, each with its own states.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define DAC_EXPORT extern "C" __declspec(dllexport)
#else
#define DAC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

enum dac_kind { DAC_CONV, DAC_UNIT, DAC_DOWN, DAC_UP };
enum dac_activation { DAC_NONE, DAC_SNAKE, DAC_TANH };

// F(outputs, taps), float64, row by row: A' [outputs][points], G [points][taps], B' [points][points].
struct dac_winograd {
    int32_t outputs, taps;
    const double *at, *g, *bt;
};

// One layer, with PyTorch's weights unchanged; they are copied. Pointers that do not apply are null.
struct dac_layer {
    int32_t kind, activation;              // activation: applied to the outputs
    int32_t in_channels, out_channels;
    int32_t in_width, out_width;           // floats per row
    int32_t kernel, stride, dilation, padding;
    const struct dac_winograd* winograd;   // null: direct
    const float *weight, *bias;            // [out, in, kernel]; DAC_UP: [in, out, kernel]
    const float* alpha;                    // [out], of a Snake after the layer
    // DAC_UNIT: Snake (alpha1), the convolution above, Snake (alpha2), a 1x1 convolution, plus the input.
    const float *alpha1, *alpha2, *weight2, *bias2;
};

struct dac_quantizer_weights {
    int32_t n_codebooks, codebook_size, codebook_dim, hidden_size, in_width;
    const float *in_proj, *in_bias;  // [n * d, hidden_size], [n * d]
    const float *codebooks, *directions;  // [n, size, d]; the second of norm 1
    // [n, d + 1, n * d]: what a chosen codebook vector, followed by a 1, subtracts from all projections.
    const float* feedback;
};

// The instruction set this library was compiled for, and the best that this processor has: "avx512", "avx2" or
// "generic". Ask the generic library, which runs everywhere.
DAC_EXPORT const char* dac_target(void);
DAC_EXPORT const char* dac_best_target(void);
// The error of this thread's last failed call.
DAC_EXPORT const char* dac_error(void);

// Null on failure. `threads` is used for packing only.
DAC_EXPORT void* dac_network(const struct dac_layer* layers, int32_t count, int32_t threads);
DAC_EXPORT void dac_network_free(void* network);
DAC_EXPORT int64_t dac_state_bytes(const void* network);
DAC_EXPORT void dac_state_init(const void* network, void* state);
// Returns the number of rows written to `out`, which has room for `capacity`; -1 on failure. With `end` the signal is
// over: the zero padding after it is pushed through, and the state becomes invalid.
DAC_EXPORT int64_t dac_push(void* network, void* state, const float* in, int64_t rows, float* out,
                            int64_t capacity, int32_t end, int32_t threads);

DAC_EXPORT void* dac_quantizer(const struct dac_quantizer_weights* weights);
DAC_EXPORT void dac_quantizer_free(void* quantizer);
// Codes [n_quantizers][frames] of `frames` rows of latents.
DAC_EXPORT int32_t dac_quantize(const void* quantizer, const float* latents, int64_t frames,
                                int32_t n_quantizers, int64_t* codes, int32_t threads);

// For benchmarks: `rounds` rounds of independent multiply-adds on one core, in registers. Returns their number.
DAC_EXPORT int64_t dac_multiply_adds(int64_t rounds);
