// The entropy coder of files, docs/format.md, "Entropy coding": the same integers as container/entropy.py, one packet and
// one bit after the other. A separate library, since it uses no special instructions. Called by container/compiled.py.
//
// Shapes: K codebooks, P packets, N symbols of each, w bits of a code, D dimensions, S the most sources of a codebook.

#include <stdint.h>

#include <algorithm>
#include <vector>

#if defined(_WIN32)
#define DAC_EXPORT extern "C" __declspec(dllexport)
#else
#define DAC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// A prior, checked by the caller: lags are not negative, and sources are below their codebook or before their symbol.
struct dac_prior {
    int32_t width, dimensions, max_sources;
    const uint8_t* rate;               // [K][w]
    const int32_t *n_sources;          // [K]
    const int32_t *lag, *source;       // [K][S]
    const uint16_t *order, *leaf;      // [K][2^w]: the code at each leaf, and the inverse
    const int16_t* bias;               // [K][2^w]
    const int8_t* node_vectors;        // [K][2^w][D]
    const int8_t* context;             // [K][S][2^w][D]
    const uint16_t* probability;       // of a 1 for z + limit, 2 * limit + 1 of them
    int32_t limit;
};

namespace {

constexpr uint64_t FULL = 0xFFFFFFFF;
constexpr uint64_t LEAST = 1 << 16;  // of the range between two decisions

class Decoder {
  public:
    Decoder(const uint8_t* data, int64_t size) : data_(data), size_(size) { value_ = word() << 16, value_ |= word(); }

    bool bit(uint64_t p, bool) {
        const uint64_t bound = range_ * p >> 16;
        const bool one = value_ < bound;
        if (one) {
            range_ = bound;
        } else {
            value_ -= bound;
            range_ -= bound;
        }
        if (range_ < LEAST) value_ = value_ << 16 | word(), range_ <<= 16;
        return one;
    }

  private:
    // Beyond the end there are zeros.
    uint64_t byte() { return at_ < size_ ? data_[at_++] : 0; }
    uint64_t word() {
        const uint64_t high = byte();
        return high << 8 | byte();
    }

    const uint8_t* data_;
    int64_t size_, at_ = 0;
    uint64_t value_ = 0, range_ = FULL;
};

// Writes at most two bytes per decision, and four at the end.
class Encoder {
  public:
    explicit Encoder(uint8_t* out) : begin_(out), end_(out) {}

    bool bit(uint64_t p, bool one) {
        const uint64_t bound = range_ * p >> 16;
        if (one) {
            range_ = bound;
        } else {
            low_ += bound;
            range_ -= bound;
        }
        if (range_ < LEAST) {
            if (low_ > FULL) carry();
            *end_++ = static_cast<uint8_t>(low_ >> 24);
            *end_++ = static_cast<uint8_t>(low_ >> 16);
            low_ = (low_ & 0xFFFF) << 16, range_ <<= 16;
        }
        return one;
    }

    // Writes the number in the range that ends in the most zero bytes, without those; returns the total length.
    int64_t finish() {
        uint64_t number = 0;
        for (int zeros = 32; zeros >= 0; zeros -= 8) {
            number = (low_ + (uint64_t(1) << zeros) - 1) >> zeros << zeros;
            if (number < low_ + range_) break;
        }
        if (number > FULL) carry();
        for (int shift = 24; shift >= 0; shift -= 8) *end_++ = static_cast<uint8_t>(number >> shift);
        while (end_ > begin_ && !end_[-1]) end_--;
        return end_ - begin_;
    }

  private:
    void carry() {
        uint8_t* p = end_ - 1;
        while (*p == 0xFF) *p-- = 0;
        ++*p;
    }

    uint8_t *begin_, *end_;
    uint64_t low_ = 0, range_ = FULL;
};

// The adaptive trees of one packet's codebooks.
class Trees {
  public:
    Trees(const dac_prior& prior, int32_t n_codebooks, int32_t channels)
        : prior_(prior), channels_(channels), size_(1 << prior.width), context_(prior.dimensions),
          state_(prior.bias, prior.bias + int64_t(n_codebooks) * size_) {}

    // Codes symbol n of codebook k through a Decoder or Encoder. ``codes`` points to those of the packet's first codebook;
    // those of the next codebook are ``stride`` further on.
    template <class Coder>
    uint16_t code(Coder& coder, int32_t k, int64_t n, const uint16_t* codes, int64_t stride, uint16_t known) {
        gather(k, n, codes, stride);
        const int64_t first = int64_t(k) * size_;
        const int32_t leaf = prior_.leaf[first + known];
        int32_t node = 1;
        for (int depth = 0; depth < prior_.width; depth++) {
            int32_t& state = state_[first + node];
            const int32_t z = std::clamp(state + (likeness(first + node) >> 3), -prior_.limit, prior_.limit);
            const int32_t p = prior_.probability[z + prior_.limit];
            const bool bit = coder.bit(p, leaf >> (prior_.width - 1 - depth) & 1);
            const int32_t error = (bit ? 65536 : 0) - p;
            state += (error * prior_.rate[k * prior_.width + depth] + 32768) >> 16;
            node = node << 1 | bit;
        }
        return prior_.order[first + node - size_];
    }

  private:
    // The context: the sum of the sources' vectors.
    void gather(int32_t k, int64_t n, const uint16_t* codes, int64_t stride) {
        std::fill(context_.begin(), context_.end(), 0);
        for (int32_t s = 0; s < prior_.n_sources[k]; s++) {
            const int64_t at = int64_t(k) * prior_.max_sources + s;
            const int64_t symbol = n - int64_t(prior_.lag[at]) * channels_;
            if (symbol < 0) continue;
            const uint16_t code = codes[prior_.source[at] * stride + symbol];
            const int8_t* vector = prior_.context + (at * size_ + code) * prior_.dimensions;
            for (int32_t d = 0; d < prior_.dimensions; d++) context_[d] += vector[d];
        }
    }

    int32_t likeness(int64_t node) const {
        const int8_t* vector = prior_.node_vectors + node * prior_.dimensions;
        int32_t sum = 0;
        for (int32_t d = 0; d < prior_.dimensions; d++) sum += vector[d] * context_[d];
        return sum;
    }

    const dac_prior& prior_;
    int32_t channels_, size_;
    std::vector<int32_t> context_, state_;
};

}  // namespace

// Decodes segments [K][P], one after the other in ``data``, each ``sizes`` bytes long, into ``codes`` [K][P][N]. If a
// size is negative, the codes are already there. False if memory runs out.
DAC_EXPORT int32_t dac_decode_segments(const struct dac_prior* prior, const uint8_t* data, const int64_t* sizes,
                                       uint16_t* codes, int32_t n_codebooks, int32_t n_packets, int64_t n_symbols,
                                       int32_t channels) try {
    const int64_t stride = n_packets * n_symbols;
    std::vector<int64_t> begins;
    int64_t begin = 0;
    for (int64_t i = 0; i < int64_t(n_codebooks) * n_packets; begin += std::max<int64_t>(0, sizes[i++]))
        begins.push_back(begin);
    for (int32_t p = 0; p < n_packets; p++) {
        Trees trees(*prior, n_codebooks, channels);
        std::vector<Decoder> decoders;
        for (int32_t k = 0; k < n_codebooks; k++)
            decoders.emplace_back(data + begins[k * n_packets + p], std::max<int64_t>(0, sizes[k * n_packets + p]));
        uint16_t* own = codes + p * n_symbols;
        for (int64_t n = 0; n < n_symbols; n++)
            for (int32_t k = 0; k < n_codebooks; k++)
                if (sizes[k * n_packets + p] >= 0)
                    own[k * stride + n] = trees.code(decoders[k], k, n, own, stride, 0);
    }
    return true;
} catch (...) {
    return false;
}

// Encodes ``codes`` [K][P][N] into ``data`` [K][P], each ``capacity`` bytes of which ``sizes`` [K][P] are used. A capacity of
// 2 * N * w + 4 is always enough. False if memory runs out.
DAC_EXPORT int32_t dac_encode_segments(const struct dac_prior* prior, const uint16_t* codes, uint8_t* data,
                                       int64_t* sizes, int64_t capacity, int32_t n_codebooks, int32_t n_packets,
                                       int64_t n_symbols, int32_t channels) try {
    const int64_t stride = n_packets * n_symbols;
    for (int32_t p = 0; p < n_packets; p++) {
        Trees trees(*prior, n_codebooks, channels);
        const uint16_t* own = codes + p * n_symbols;
        for (int32_t k = 0; k < n_codebooks; k++) {
            const int64_t segment = int64_t(k) * n_packets + p;
            Encoder encoder(data + segment * capacity);
            for (int64_t n = 0; n < n_symbols; n++) trees.code(encoder, k, n, own, stride, own[k * stride + n]);
            sizes[segment] = encoder.finish();
        }
    }
    return true;
} catch (...) {
    return false;
}
