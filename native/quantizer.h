// Latents to codes, with the residual kept in the codebooks' low-dimensional space.
//
// Codebook k sees in_k (z - sum of out_j c_j over the codebooks before) + b_k. All in_k z are one product, with 8
// numbers per codebook rather than a thousand; and in_k out_j is an 8 by 8 matrix, computed in advance. So what a
// chosen code c_j removes from the residual is subtracted from the projections still to be searched.
#pragma once

#include <limits>
#include <memory>

#include "layers.h"

namespace dac {

class Quantizer {
  public:
    Quantizer(const dac_quantizer_weights& q, Team& team)
        : n_(q.n_codebooks), size_(q.codebook_size), dim_(q.codebook_dim), in_width_(q.in_width),
          width_(round_up(n_ * dim_, 16)), padded_size_(round_up(size_, W)),
          bias_(width_, 0.0f), codebooks_(q.codebooks, q.codebooks + n_ * size_ * dim_),
          feedback_(n_ * (dim_ + 1) * width_, 0.0f), directions_(n_ * dim_ * padded_size_, 0.0f),
          norms_(n_ * padded_size_, std::numeric_limits<float>::infinity()) {
        const long hidden = q.hidden_size, columns = n_ * dim_;
        Weights weights{q.in_proj, {0}, {}, {}};
        append(weights.channels, hidden, in_width_, 1);
        append(weights.columns, columns, width_, hidden);
        project_ = std::make_unique<Convolution>(weights, 1, nullptr, team);
        std::copy(q.in_bias, q.in_bias + columns, bias_.begin());
        for (long row = 0; row < n_ * (dim_ + 1); row++)
            std::copy(q.feedback + row * columns, q.feedback + (row + 1) * columns,
                      feedback_.begin() + row * width_);
        for (long i = 0; i < n_; i++)
            for (long code = 0; code < size_; code++) {
                float norm = 0;
                for (long j = 0; j < dim_; j++) {
                    const float x = q.directions[(i * size_ + code) * dim_ + j];
                    directions_[(i * dim_ + j) * padded_size_ + code] = x;
                    norm += x * x;
                }
                norms_[i * padded_size_ + code] = norm;
            }
    }

    // Codes [n_used][frames] of latents [frames][in_width].
    void quantize(const float* latents, long frames, long n_used, int64_t* codes, Team& team) const {
        const long block = 32;
        const Floats projected = floats(frames * width_);
        team.each((frames + block - 1) / block, [&](long b, int) {
            const long first = b * block, count = std::min(block, frames - first);
            float* p = projected.get() + first * width_;
            Epilogue finish;
            finish.bias = bias_.data();
            for (long g = 0; g * Convolution::GROUP < n_used * dim_; g++)
                project_->multiply(false, latents + first * in_width_, in_width_, nullptr, count, g, nullptr, p, width_,
                                   finish);
            for (long f = 0; f < count; f++, p += width_)
                for (long i = 0; i < n_used; i++) {
                    const long code = search(i, p + i * dim_);
                    codes[i * frames + first + f] = code;
                    take_from(p, i, code, n_used);
                }
        });
    }

  private:
    // The code nearest in direction; the first wins a tie. |c|^2 - 2 c.x / |x| is the squared distance, less 1.
    long search(long i, const float* x) const {
        float norm = 0;
        for (long j = 0; j < dim_; j++) norm += x[j] * x[j];
        const float scale = 2 / std::max(std::sqrt(norm), 1e-12f);
        const float* directions = directions_.data() + i * dim_ * padded_size_;
        const float* norms = norms_.data() + i * padded_size_;
        V best = splat(std::numeric_limits<float>::infinity()), where = {};
        for (long c = 0; c < padded_size_; c += W) {
            V distance = load(norms + c);
            for (long j = 0; j < dim_; j++) distance -= load(directions + j * padded_size_ + c) * (scale * x[j]);
            where = distance < best ? splat(float(c)) : where;  // sizes up to 65536 are exact
            best = smaller(distance, best);
        }
        long code = long(where[0]);
        float least = best[0];
        for (int w = 1; w < W; w++) {
            const long candidate = long(where[w]) + w;
            if (best[w] < least || (best[w] == least && candidate < code)) least = best[w], code = candidate;
        }
        return std::min(code, size_ - 1);  // any code for NaN
    }

    void take_from(float* p, long i, long code, long n_used) const {
        const float* vector = codebooks_.data() + (i * size_ + code) * dim_;
        const float* rows = feedback_.data() + i * (dim_ + 1) * width_;
        for (long c = (i + 1) * dim_ / W * W; c < n_used * dim_; c += W) {
            V taken = load(rows + dim_ * width_ + c);
            for (long j = 0; j < dim_; j++) taken += load(rows + j * width_ + c) * vector[j];
            store(p + c, load(p + c) - taken);
        }
    }

    const long n_, size_, dim_, in_width_, width_, padded_size_;
    std::unique_ptr<Convolution> project_;
    std::vector<float> bias_, codebooks_, feedback_, directions_, norms_;
};

}  // namespace dac
