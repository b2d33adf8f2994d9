// Random networks and pushes, for the sanitizers (make sanitize): every result is also compared with that of
// the same signal in one push on one thread. They must be equal to the last bit where no Winograd tile moves.
#define DAC_TARGET "fuzz"
#include "dacodec.cpp"
#include "entropy.cpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <thread>

namespace {

std::mt19937 rng;

long below(long n) { return long(rng() % (unsigned long)n); }

long padded_width(long channels) { return (channels + 15) / 16 * 16; }

// Random matrices of the right sizes: a sanitizer does not care, and results must not depend on threads either.
struct Matrix {
    std::vector<double> at, g, bt;
    dac_winograd matrices;
    Matrix(int m, int r) : at(m * (m + r - 1)), g((m + r - 1) * r), bt((m + r - 1) * (m + r - 1)) {
        for (auto* v : {&at, &g, &bt})
            for (double& x : *v) x = double(below(1000)) / 1000 - 0.5;
        matrices = {m, r, at.data(), g.data(), bt.data()};
    }
};

// Exactly as many floats as a layer may read, so that reading one too many is detected.
std::vector<float>& values(std::vector<std::vector<float>>& held, long count) {
    held.emplace_back(count);
    for (float& x : held.back()) x = float(below(2000)) / 1000 - 1;
    return held.back();
}

struct Model {
    std::vector<std::vector<float>> held;
    std::vector<dac_layer> layers;
    Matrix four4{4, 4}, four2{4, 2};
    bool fast = below(2);

    Model() {
        long channels = 1 + below(70);
        const long first = below(2) ? 1 : 1 + below(40);
        add(DAC_CONV, first, first == 1 ? 1 : padded_width(first), channels, 1 + 2 * below(4), 1, 1);
        for (long blocks = below(3); blocks >= 0; blocks--) {
            const long stride = 1 + below(9), next = 1 + below(90);
            add(below(2) ? DAC_DOWN : DAC_UP, channels, padded_width(channels), next, 2 * stride, stride, 1);
            channels = next;
            const long dilations[] = {1, 3, 9};
            for (long units = below(3); units >= 0; units--)
                add(DAC_UNIT, channels, padded_width(channels), channels, 7, 1, dilations[below(3)]);
        }
        if (below(2)) add(DAC_CONV, channels, padded_width(channels), 1, 7, 1, 1, true);
        else add(DAC_CONV, channels, padded_width(channels), 1 + below(50), 3, 1, 1);
    }

    void add(int kind, long in, long in_width, long out, long kernel, long stride, long dilation,
             bool to_audio = false) {
        dac_layer l = {};
        l.kind = kind;
        l.activation = to_audio ? DAC_TANH : kind == DAC_CONV || below(2) ? DAC_NONE : DAC_SNAKE;
        l.in_channels = in, l.out_channels = out, l.in_width = in_width;
        l.out_width = to_audio ? 1 : padded_width(out);
        l.kernel = kernel, l.stride = stride, l.dilation = dilation;
        l.padding = kind == DAC_UP || kind == DAC_DOWN ? (stride + 1) / 2 : dilation * (kernel / 2);
        l.weight = values(held, in * out * kernel).data();
        l.bias = values(held, out).data();
        if (l.activation == DAC_SNAKE) l.alpha = values(held, out).data();
        if (kind == DAC_UNIT) {
            l.alpha1 = values(held, in).data(), l.alpha2 = values(held, in).data();
            l.weight2 = values(held, in * out).data(), l.bias2 = values(held, out).data();
            if (fast) l.winograd = &four4.matrices;
        } else if (kind != DAC_CONV && fast) {
            l.winograd = &four2.matrices;
        }
        layers.push_back(l);
    }
};

std::vector<float> run(void* network, const Model& model, const std::vector<float>& in, long pieces, int threads) {
    const long width = model.layers[0].in_width, rows = long(in.size()) / width;
    long capacity = rows + 100;
    for (const auto& l : model.layers) capacity = capacity * (l.kind == DAC_UP ? l.stride : 1) + 10;
    std::vector<float> out(capacity * model.layers.back().out_width);
    std::vector<char> state(dac_state_bytes(network));
    dac_state_init(network, state.data());
    long made = 0;
    for (long i = 0, first = 0; i < pieces; i++) {
        const long last = i + 1 == pieces ? rows : first + below(rows - first + 1);
        const std::vector<float> piece(in.begin() + first * width, in.begin() + last * width);
        const long n = dac_push(network, state.data(), piece.data(), last - first,
                                out.data() + made * model.layers.back().out_width, capacity - made,
                                i + 1 == pieces, threads);
        if (n < 0) std::printf("%s\n", dac_error()), std::exit(1);
        made += n, first = last;
    }
    out.resize(made * model.layers.back().out_width);
    return out;
}

void check(bool right, const char* what) {
    if (!right) std::printf("%s\n", what), std::exit(1);
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(float));
}

void try_network() {
    const Model model;
    void* network = dac_network(model.layers.data(), int(model.layers.size()), 1 + below(3));
    check(network, "no network");
    std::vector<std::vector<float>> held;
    const auto& in = values(held, model.layers[0].in_width * (1 + below(below(4) ? 60 : 3000)));
    const auto whole = run(network, model, in, 1, 1);
    check(same(run(network, model, in, 1, int(2 + below(15))), whole), "threads show");
#if !defined(__SANITIZE_THREAD__)  // which does not support forking with threads
    const pid_t child = fork();
    if (!child) _exit(same(run(network, model, in, 1, 3), whole) ? 0 : 1);
    int status = 1;
    check(waitpid(child, &status, 0) == child && !status, "a fork shows");
#endif
    const auto pieces = run(network, model, in, 1 + below(5), 2);
    check(model.fast ? pieces.size() == whole.size() : same(pieces, whole), "pushes show");
    std::vector<std::vector<float>> results(2);
    std::thread other([&] { results[0] = run(network, model, in, 1, 2); });
    results[1] = run(network, model, in, 1, 2);
    other.join();
    for (const auto& result : results) check(same(result, whole), "calls at once show");
    dac_network_free(network);
}

void try_quantizer() {
    const int n = 1 + below(6), size = 1 << (1 + below(7)), d = 1 + below(12), hidden = 1 + below(60);
    std::vector<std::vector<float>> held;
    const dac_quantizer_weights weights = {
        n, size, d, hidden, int32_t(padded_width(hidden)), values(held, n * d * hidden).data(),
        values(held, n * d).data(), values(held, n * size * d).data(), values(held, n * size * d).data(),
        values(held, n * (d + 1) * n * d).data()};
    void* quantizer = dac_quantizer(&weights);
    const long frames = 1 + below(100);
    const int used = 1 + below(n);
    const auto& latents = values(held, frames * padded_width(hidden));
    std::vector<int64_t> one(frames * used), three(frames * used);
    check(!dac_quantize(quantizer, latents.data(), frames, used, one.data(), 1), "quantizer");
    check(!dac_quantize(quantizer, latents.data(), frames, used, three.data(), 3), "quantizer");
    check(one == three, "threads show in codes");
    for (int64_t code : one) check(code >= 0 && code < size, "a code out of range");
    dac_quantizer_free(quantizer);
}

// Codes survive the round trip, and garbage decodes to something; arrays have exactly the required length.
void try_entropy_coder() {
    const int w = 1 + below(6), d = 1 + below(9), sources = below(4), n_codebooks = 1 + below(4), size = 1 << w;
    const int channels = 1 + below(3), packets = 1 + below(3);
    const long symbols = below(60);
    const auto random = [](auto& array, long count, long least, long most) {
        array.resize(count);
        for (auto& x : array) x = least + below(most - least + 1);
        return array.data();
    };
    std::vector<uint8_t> rate;
    std::vector<int32_t> n_sources, lag, source;
    std::vector<uint16_t> order, leaf(n_codebooks * size), probability;
    std::vector<int16_t> bias;
    std::vector<int8_t> node_vectors, context;
    random(order, n_codebooks * size, 0, 0);
    for (int i = 0; i < n_codebooks * size; i++) order[i] = uint16_t(i % size);
    for (int k = 0; k < n_codebooks; k++) {
        std::shuffle(&order[k * size], &order[k * size] + size, rng);
        for (int i = 0; i < size; i++) leaf[k * size + order[k * size + i]] = uint16_t(i);
    }
    random(lag, n_codebooks * sources, 1, 8), random(source, n_codebooks * sources, 0, 0);
    for (int i = 0; i < n_codebooks * sources; i++) source[i] = int32_t(below(i / sources + 1));
    const dac_prior prior = {
        w, d, sources, random(rate, n_codebooks * w, 0, 255), random(n_sources, n_codebooks, 0, sources), lag.data(),
        source.data(), order.data(), leaf.data(), random(bias, n_codebooks * size, -32768, 32767),
        random(node_vectors, n_codebooks * size * d, -128, 127),
        random(context, n_codebooks * sources * size * d, -128, 127), random(probability, 201, 22, 65513), 100};
    const long segments = n_codebooks * packets, capacity = 2 * symbols * w + 4;
    std::vector<uint16_t> codes, decoded(segments * symbols);
    random(codes, segments * symbols, 0, size - 1);
    std::vector<uint8_t> data(segments * capacity), joined;
    std::vector<int64_t> sizes(segments);
    check(dac_encode_segments(&prior, codes.data(), data.data(), sizes.data(), capacity, n_codebooks, packets, symbols,
                              channels), "encode");
    for (long i = 0; i < segments; i++)
        joined.insert(joined.end(), &data[i * capacity], &data[i * capacity] + sizes[i]);
    check(dac_decode_segments(&prior, joined.data(), sizes.data(), decoded.data(), n_codebooks, packets, symbols,
                              channels), "decode");
    check(decoded == codes, "other codes");
    long total = 0;
    for (auto& bytes : sizes) total += std::max<long>(0, bytes = below(30) - 1);
    random(joined, total, 0, 255);
    check(dac_decode_segments(&prior, joined.data(), sizes.data(), decoded.data(), n_codebooks, packets, symbols,
                              channels), "decode");
    for (uint16_t code : decoded) check(code < size, "a code out of range");
}

}  // namespace

int main(int count, char** arguments) {
    const long rounds = count > 1 ? std::atol(arguments[1]) : 100;
    for (long i = 0; i < rounds; i++) {
        rng.seed(unsigned(i));
        try_network();
        try_quantizer();
        for (int j = 0; j < 10; j++) try_entropy_coder();
    }
    std::printf("%ld networks and quantizers, %ld entropy coders\n", rounds, 10 * rounds);
}
