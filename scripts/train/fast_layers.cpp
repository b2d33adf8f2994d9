// Snake and the dilated convolutions of 7 taps, forward and backward, for training small models on a CPU: those are what
// PyTorch is slow at. Rows are channels, columns samples; all arrays are dense float32 [batch, channels, n], n a multiple of
// 16, channels of 4. One thread. Built and called by fast_layers.py.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

constexpr int TAPS = 7;
constexpr int WIDTH = 8;       // floats in a vector
constexpr int TILE_ROWS = 6;   // of outputs kept in registers, two vectors each
typedef float Vector __attribute__((vector_size(4 * WIDTH)));
typedef float Unaligned __attribute__((vector_size(4 * WIDTH), aligned(4)));

Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }
Vector splat(float x) { return Vector{} + x; }

// Rows with zeros on both sides, so that a convolution need not look where it is.
struct Padded {
  std::vector<float> values;
  int64_t stride = 0;

  const float* set(const float* rows, int n_rows, int64_t n, int64_t padding) {
    stride = n + 2 * padding;
    values.assign(n_rows * stride, 0.f);
    for (int r = 0; r < n_rows; r++) std::memcpy(&values[r * stride + padding], rows + r * n, 4 * n);
    return values.data();
  }
};

// ROWS rows of 16 outputs: out[r, t] = bias[r] + sum over c, k of weight[c, k, r] * in[c, t + k * dilation].
template <int ROWS>
void tile(const float* in, int64_t stride, const float* weight, const float* bias, float* out, int channels, int64_t n,
          int64_t dilation) {
  Vector sums[ROWS][2];
  for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = splat(bias ? bias[r] : 0.f);
  for (int c = 0; c < channels; c++, in += stride) {
    const float* x = in;
#pragma GCC unroll 7
    for (int k = 0; k < TAPS; k++, weight += ROWS, x += dilation) {
      const Vector first = load(x), second = load(x + WIDTH);
      for (int r = 0; r < ROWS; r++) {
        const Vector w = splat(weight[r]);
        sums[r][0] += w * first;
        sums[r][1] += w * second;
      }
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < 2; v++) store(out + r * n + v * WIDTH, sums[r][v]);
}

// out [rows, n] of in [channels, n + (TAPS - 1) * dilation] with weight [rows, channels, TAPS].
void correlate(const float* in, int64_t stride, const float* weight, const float* bias, float* out, int rows,
               int channels, int64_t n, int64_t dilation) {
  const int taps = channels * TAPS;
  std::vector<float> packed(static_cast<size_t>(rows) * taps);
  float* p = packed.data();
  for (int first = 0; first < rows; first += TILE_ROWS)
    for (int j = 0; j < taps; j++)
      for (int r = first; r < std::min(rows, first + TILE_ROWS); r++) *p++ = weight[r * taps + j];
  for (int64_t t = 0; t < n; t += 2 * WIDTH)
    for (int r = 0; r < rows; r += TILE_ROWS) {
      const int left = rows - r;
      const auto run = left >= 6 ? tile<6> : left == 4 ? tile<4> : tile<2>;
      run(in + t, stride, &packed[r * taps], bias ? bias + r : nullptr, out + r * n + t, channels, n, dilation);
    }
}

// gradient[r, c, k] += sum over t of dy[r, t] * in[c, t + k * dilation].
void weight_gradient(const float* dy, const float* in, int64_t stride, float* gradient, int rows, int channels, int64_t n,
                     int64_t dilation) {
  constexpr int R = 4, C = 3;  // rows of dy and of in whose products are summed at a time
  const int taps = channels * TAPS;
  // Pieces of all rows together stay in the cache; sums of a piece are kept as vectors.
  const int64_t piece = std::max<int64_t>(192, 16384 / std::max(rows, channels) / WIDTH * WIDTH);
  std::vector<float> sums(static_cast<size_t>(rows) * ((taps + C - 1) / C * C) * WIDTH, 0.f);
  for (int64_t begin = 0; begin < n; begin += piece) {
    const int64_t end = std::min(n, begin + piece);
    float* sum = sums.data();
    for (int j = 0; j < taps; j += C) {
      const float* x[C];
      for (int i = 0; i < C; i++) {
        const int tap = std::min(j + i, taps - 1);
        x[i] = in + tap / TAPS * stride + tap % TAPS * dilation;
      }
      for (int r = 0; r < rows; r += R, sum += R * C * WIDTH) {
        Vector total[R][C];
        for (int i = 0; i < R * C; i++) total[i / C][i % C] = load(sum + i * WIDTH);
        for (int64_t t = begin; t < end; t += WIDTH) {
          const Vector x0 = load(x[0] + t), x1 = load(x[1] + t), x2 = load(x[2] + t);
          for (int a = 0; a < R; a++) {
            const Vector y = load(dy + (r + a) * n + t);
            total[a][0] += y * x0;
            total[a][1] += y * x1;
            total[a][2] += y * x2;
          }
        }
        for (int i = 0; i < R * C; i++) store(sum + i * WIDTH, total[i / C][i % C]);
      }
    }
  }
  const float* sum = sums.data();
  for (int j = 0; j < taps; j += C)
    for (int r = 0; r < rows; r += R, sum += R * C * WIDTH)
      for (int i = 0; i < R * C; i++)
        if (j + i % C < taps)
          for (int l = 0; l < WIDTH; l++) gradient[(r + i / C) * taps + j + i % C] += sum[i * WIDTH + l];
}

// sin z and cos z, both perhaps with the other sign: sin^2 z and sin z cos z have the period pi, so one reduction to
// [-pi/2, pi/2] does. Taylor series, error below 1e-7.
void sin_cos(float z, float& sine, float& cosine) {
  const float turns = __builtin_rintf(z * 0.318309886f);
  const float r = (z - turns * 3.140625f) - turns * 9.67653589793e-4f, u = r * r;
  sine = r * (1 + u * (-1.f / 6 + u * (1.f / 120 + u * (-1.f / 5040 + u * (1.f / 362880 - u / 39916800)))));
  cosine = 1 + u * (-1.f / 2 + u * (1.f / 24 + u * (-1.f / 720 + u * (1.f / 40320 + u * (-1.f / 3628800 + u / 479001600)))));
}

}  // namespace

// y [batch, rows, n] of x [batch, channels, n]
API void convolution(const float* x, const float* weight, const float* bias, float* y, int batch, int rows, int channels,
                     int64_t n, int64_t dilation) {
  Padded padded;
  for (int b = 0; b < batch; b++, x += channels * n, y += rows * n) {
    const float* in = padded.set(x, channels, n, (TAPS - 1) / 2 * dilation);
    correlate(in, padded.stride, weight, bias, y, rows, channels, n, dilation);
  }
}

// Writes dx, adds to d_weight and d_bias.
API void convolution_gradients(const float* x, const float* weight, const float* dy, float* dx, float* d_weight,
                               float* d_bias, int batch, int rows, int channels, int64_t n, int64_t dilation) {
  // The gradient of the input is the same convolution, transposed and backwards.
  std::vector<float> turned(static_cast<size_t>(rows) * channels * TAPS);
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < channels; c++)
      for (int k = 0; k < TAPS; k++)
        turned[(c * rows + r) * TAPS + k] = weight[(r * channels + c) * TAPS + TAPS - 1 - k];
  Padded padded;
  for (int b = 0; b < batch; b++, x += channels * n, dy += rows * n, dx += channels * n) {
    const float* in = padded.set(x, channels, n, (TAPS - 1) / 2 * dilation);
    weight_gradient(dy, in, padded.stride, d_weight, rows, channels, n, dilation);
    for (int r = 0; r < rows; r++) {
      Vector sum = splat(0.f);
      for (int64_t t = 0; t < n; t += WIDTH) sum += load(dy + r * n + t);
      for (int l = 0; l < WIDTH; l++) d_bias[r] += sum[l];
    }
    in = padded.set(dy, rows, n, (TAPS - 1) / 2 * dilation);
    correlate(in, padded.stride, turned.data(), nullptr, dx, channels, rows, n, dilation);
  }
}

// x + sin^2(alpha x) / alpha
API void snake(const float* x, const float* alpha, float* y, int batch, int channels, int64_t n) {
  for (int i = 0; i < batch * channels; i++, x += n, y += n) {
    const float a = alpha[i % channels], inverse = 1 / (a + 1e-9f);
    for (int64_t t = 0; t < n; t++) {
      float sine, cosine;
      sin_cos(a * x[t], sine, cosine);
      y[t] = x[t] + inverse * sine * sine;
    }
  }
}

// Writes dx, adds to d_alpha.
API void snake_gradients(const float* x, const float* alpha, const float* dy, float* dx, float* d_alpha, int batch,
                         int channels, int64_t n) {
  for (int i = 0; i < batch * channels; i++, x += n, dy += n, dx += n) {
    const float a = alpha[i % channels], inverse = 1 / (a + 1e-9f);
    float sum = 0;
    for (int64_t t = 0; t < n; t++) {
      float sine, cosine;
      sin_cos(a * x[t], sine, cosine);
      const float slope = 2 * sine * cosine * inverse;
      dx[t] = dy[t] * (1 + a * slope);
      sum += dy[t] * (slope * x[t] - inverse * inverse * sine * sine);
    }
    d_alpha[i % channels] += sum;
  }
}
