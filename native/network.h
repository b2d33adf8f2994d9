// A chain of layers over a stream of rows.
//
// Between two layers is a queue of rows. A layer runs when its queue holds a full chunk, and passes its outputs on
// at once. So a signal of any length passes through in pieces that stay in the cache, memory does not grow with its
// length, and a push of a few rows runs the same code as a push of an hour. At the end of a push every layer runs on
// whatever rows it has; those that later steps will read again are kept in the state.
#pragma once

#include "layers.h"

namespace dac {

// The buffers of a call; kept for the next one.
struct Workspace {
    struct Queue {
        Floats rows;
        long first = 0, count = 0;
    };
    int threads;
    std::vector<Queue> queues;
    Rooms rooms;
};

class Network {
  public:
    Network(const dac_layer* layers, int count, Team& team) {
        for (int i = 0; i < count; i++) layers_.push_back(make_layer(layers[i], team));
    }

    // A state: for each layer the number of rows kept and of rows still to drop, then the rows. A multiple of eight
    // bytes, so that states can be stored one after the other.
    size_t state_bytes() const {
        size_t bytes = 0;
        for (const auto& layer : layers_) bytes += 2 * sizeof(int64_t) + kept_bytes(*layer);
        return (bytes + 7) / 8 * 8;
    }

    void init(void* state) const {
        std::memset(state, 0, state_bytes());
        int64_t* numbers = static_cast<int64_t*>(state);
        for (const auto& layer : layers_) {
            *numbers++ = layer->padding;  // zero rows
            *numbers++ = layer->trim;
        }
    }

    long push(void* state, const float* in, long rows, float* out, long capacity, bool end, Team& team) {
        Push push{*this, take_workspace(team.size()), team, static_cast<int64_t*>(state), out, capacity};
        push.load();
        push.feed(in, rows);
        push.finish(end);
        push.save();
        give_back(std::move(push.workspace));
        return push.made;
    }

  private:
    static size_t kept_bytes(const Layer& layer) { return (layer.span - 1) * layer.in_width * sizeof(float); }

    struct Push {
        Network& network;
        std::unique_ptr<Workspace> workspace;
        Team& team;
        int64_t* state;
        float* out;
        long capacity;
        long made = 0;

        const Layer& layer(size_t i) const { return *network.layers_[i]; }
        Workspace::Queue& queue(size_t i) { return workspace->queues[i]; }
        size_t size() const { return network.layers_.size(); }
        int64_t& to_drop(size_t i) { return state[2 * i + 1]; }

        void load() {
            const char* kept = reinterpret_cast<const char*>(state + 2 * size());
            for (size_t i = 0; i < size(); i++) {
                queue(i).first = 0;
                queue(i).count = state[2 * i];
                std::memcpy(queue(i).rows.get(), kept, state[2 * i] * layer(i).in_width * sizeof(float));
                kept += kept_bytes(layer(i));
            }
        }

        void save() {
            char* kept = reinterpret_cast<char*>(state + 2 * size());
            for (size_t i = 0; i < size(); i++) {
                state[2 * i] = queue(i).count;
                const size_t bytes = queue(i).count * layer(i).in_width * sizeof(float);
                std::memcpy(kept, queue(i).rows.get() + queue(i).first * layer(i).in_width, bytes);
                kept += kept_bytes(layer(i));
            }
        }

        // Where to write rows for layer i.
        float* tail(size_t i) {
            Workspace::Queue& q = queue(i);
            const long width = layer(i).in_width;
            if (q.first) std::memmove(q.rows.get(), q.rows.get() + q.first * width, q.count * width * sizeof(float));
            q.first = 0;
            return q.rows.get() + q.count * width;
        }

        void feed(const float* in, long rows) {
            const long width = layer(0).in_width, most = layer(0).chunk * layer(0).rows_in;
            for (long n; rows > 0; rows -= n, in += n * width) {
                n = std::min(rows, most);
                std::memcpy(tail(0), in, n * width * sizeof(float));
                queue(0).count += n;
                run(0, false, 0);
            }
        }

        void finish(bool end) {
            for (size_t i = 0; i < size(); i++) {
                if (end) {
                    std::memset(tail(i), 0, layer(i).padding * layer(i).in_width * sizeof(float));
                    queue(i).count += layer(i).padding;
                }
                run(i, true, end ? layer(i).trim : 0);
            }
        }

        // Runs layer i on full chunks, or on all rows it has; `trim` of the very last rows are dropped.
        void run(size_t i, bool all, long trim) {
            const Layer& l = layer(i);
            Workspace::Queue& q = queue(i);
            for (long ready; (ready = l.steps(q.count)) >= (all ? 1 : l.chunk);) {
                const long steps = std::min(ready, l.chunk);
                const bool last = i + 1 == size();
                if (last && made + steps * l.rows_out > capacity) throw std::length_error("the output is too small");
                float* y = last ? out + made * l.out_width : tail(i + 1);
                l.run(q.rows.get() + q.first * l.in_width, steps, y, team, workspace->rooms);
                q.first += steps * l.rows_in;
                q.count -= steps * l.rows_in;
                long rows = steps * l.rows_out;
                const long dropped = std::min<long>(to_drop(i), rows);
                if (dropped) {
                    std::memmove(y, y + dropped * l.out_width, (rows - dropped) * l.out_width * sizeof(float));
                    to_drop(i) -= dropped;
                    rows -= dropped;
                }
                if (steps == ready) rows = std::max(0L, rows - trim);
                if (last) {
                    made += rows;
                } else {
                    queue(i + 1).count += rows;
                    run(i + 1, false, 0);
                }
            }
        }
    };

    std::unique_ptr<Workspace> take_workspace(int threads) {
        {
            std::lock_guard<std::mutex> lock(shelf_mutex());
            for (auto it = idle_.begin(); it != idle_.end(); ++it) {
                if ((*it)->threads != threads) continue;
                auto workspace = std::move(*it);
                idle_.erase(it);
                return workspace;
            }
        }
        Needs shared, own;
        std::vector<Workspace::Queue> queues;
        long arriving = layers_[0]->chunk * layers_[0]->rows_in;
        for (const auto& l : layers_) {
            const long rows = l->span + l->chunk * l->rows_in + std::max(arriving, l->padding);
            queues.push_back({floats(rows * l->in_width)});
            arriving = l->chunk * l->rows_out;
            shared.cover(l->needs(std::min(l->chunk, FEW_ROWS * threads)));
            own.cover(l->needs(std::min(l->chunk, l->block())));
        }
        std::vector<Room> rooms;
        for (int i = 0; i < threads; i++) rooms.emplace_back(own);
        return std::make_unique<Workspace>(Workspace{threads, std::move(queues), {Room(shared), std::move(rooms)}});
    }

    void give_back(std::unique_ptr<Workspace> workspace) {
        std::lock_guard<std::mutex> lock(shelf_mutex());
        idle_.push_back(std::move(workspace));
    }

    std::vector<std::unique_ptr<Layer>> layers_;
    std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace dac
