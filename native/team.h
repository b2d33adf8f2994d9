// A team of threads that divides one computation after another into pieces.
//
// The pieces are the same for every team size, and no piece adds to another's result, so one thread or many
// give the same bytes. Any awake thread claims the next piece, and a computation is over when its pieces are done:
// a thread that is not scheduled has claimed none and delays nobody. One preempted in the middle of a piece does
// delay the others. That happens when other programs want the processors, and then the caller works alone for a while.
// Teams are kept for the next call; a forked child discards its parent's, whose threads it does not have.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace dac {

using Clock = std::chrono::steady_clock;

// Whether other programs keep the processors so busy that our threads do more harm than good. That is assumed if the
// caller waits for its last piece far longer than a piece takes, with little gained before. The threads are tried again
// after a delay, which grows as long as that fails.
class Crowd {
  public:
    bool is_dense() const { return Clock::now() < until_; }

    void note(Clock::duration piece, Clock::duration waited) {
        if (waited < 2 * piece + WAKING) return;
        const auto now = Clock::now();
        const bool worth_it = now - until_ > 8 * waited;
        while_ = worth_it ? Clock::duration::zero() : std::clamp(2 * while_, SHORT, LONG);
        until_ = now + while_;
    }

  private:
    static constexpr Clock::duration WAKING = std::chrono::microseconds(300);  // a thread may take this long to wake
    static constexpr Clock::duration SHORT = std::chrono::milliseconds(5), LONG = std::chrono::milliseconds(160);
    Clock::time_point until_{};
    Clock::duration while_{};
};

class Team {
  public:
    explicit Team(int size) : size_(size) {
        for (int i = 1; i < size; i++) threads_.emplace_back([this, i] { work(i); });
    }

    ~Team() {
        stop_.store(true);
        wake(asleep_, awake_);
        for (auto& thread : threads_) thread.join();
    }

    int size() const { return size_; }

    // Runs f(piece, worker) for every piece from 0 to count - 1; returns when all are done.
    template <class F>
    void each(long count, F f) {
        if (size_ == 1 || count <= 1 || crowd_.is_dense()) {
            for (long i = 0; i < count; i++) f(i, 0);
            return;
        }
        call_ = [](void* context, long piece, int worker) { (*static_cast<F*>(context))(piece, worker); };
        context_ = &f;
        count_ = count;
        done_.store(0, std::memory_order_relaxed);
        left_.store(next_round() | uint64_t(count));  // a thread that claims a piece sees all of the above
        wake(asleep_, awake_);
        const auto began = Clock::now();
        const long own = take(0);
        const auto mine = Clock::now();
        wait(waiting_, finished_, [this] { return done_.load() == count_; });
        if (own) crowd_.note((mine - began) / own, Clock::now() - mine);
    }

  private:
    static constexpr int SPINS = 1000;  // about twenty microseconds: longer than most pauses between two calls
    static constexpr uint64_t PIECES = 0xffffffff;

    uint64_t next_round() const { return (left_.load(std::memory_order_relaxed) | PIECES) + 1; }

    bool is_open() const { return (left_.load() & PIECES) != 0; }

    void work(int worker) {
        while (!stop_.load()) {
            take(worker);
            wait(asleep_, awake_, [this] { return is_open() || stop_.load(); });
        }
    }

    // Runs all pieces that this thread can claim; returns their number.
    long take(int worker) {
        long made = 0, count = 0;
        for (uint64_t left = left_.load(); left & PIECES;) {
            if (!left_.compare_exchange_weak(left, left - 1)) continue;
            // The caller waits for this piece, so until it is counted below the computation stays the same.
            count = count_;
            call_(context_, count - long(left & PIECES), worker);
            made++;
            left = left_.load();
        }
        if (made && done_.fetch_add(made) + made == count) wake(waiting_, finished_);
        return made;
    }

    // Wait until ready: spin briefly, which reacts faster, then sleep, because others may need the processor.
    template <class Ready>
    void wait(std::atomic<int>& sleepers, std::condition_variable& bell, Ready ready) {
        for (int spins = 0; spins < SPINS; spins++) {
            if (ready()) return;
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers.fetch_add(1);  // before the last check: whoever changes the condition looks for sleepers afterwards
        bell.wait(lock, ready);
        sleepers.fetch_sub(1);
    }

    void wake(std::atomic<int>& sleepers, std::condition_variable& bell) {
        if (!sleepers.load()) return;
        { std::lock_guard<std::mutex> lock(mutex_); }  // a thread in its last check is asleep by then
        bell.notify_all();
    }

    const int size_;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable awake_, finished_;
    std::atomic<int> asleep_{0}, waiting_{0};
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> left_{0};  // a round's number, and how many of its pieces are unclaimed
    std::atomic<long> done_{0};
    void (*call_)(void*, long, int) = nullptr;
    void* context_ = nullptr;
    long count_ = 0;
    Crowd crowd_;
};

// Guards what calls take and return: teams here, workspaces in network.h. Held across a fork, so that the
// child finds both intact.
inline std::mutex& shelf_mutex() {
    static std::mutex* mutex = new std::mutex;
    return *mutex;
}

class Teams {
  public:
    static std::unique_ptr<Team> take(int size) {
        std::lock_guard<std::mutex> lock(shelf_mutex());
        auto& shelf = instance().idle_;
        for (auto it = shelf.begin(); it != shelf.end(); ++it) {
            if ((*it)->size() != size) continue;
            auto team = std::move(*it);
            shelf.erase(it);
            return team;
        }
        return std::make_unique<Team>(size);
    }

    static void give_back(std::unique_ptr<Team> team) {
        std::lock_guard<std::mutex> lock(shelf_mutex());
        instance().idle_.push_back(std::move(team));
    }

  private:
    Teams() {
#if !defined(_WIN32)
        pthread_atfork([] { shelf_mutex().lock(); }, [] { shelf_mutex().unlock(); },
                       [] {
                           for (auto& team : instance().idle_) team.release();  // its threads are the parent's
                           instance().idle_.clear();
                           shelf_mutex().unlock();
                       });
#endif
    }

    // Never destroyed: threads cannot be joined while a process unloads its libraries.
    static Teams& instance() {
        static Teams* teams = new Teams;
        return *teams;
    }

    std::vector<std::unique_ptr<Team>> idle_;
};

}  // namespace dac
