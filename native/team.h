// A team of threads that share out the pieces of one computation after another.
//
// The pieces are the same whatever the team's size, and no piece adds to another's result: one thread or many
// give the same bytes. Teams are kept for the next call; a forked child forgets its parent's, whose threads it
// does not have.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace dac {

class Team {
  public:
    explicit Team(int size) : size_(size) {
        for (int i = 1; i < size; i++) threads_.emplace_back([this, i] { work(i); });
    }

    ~Team() {
        wake([this] { stop_ = true; });
        for (auto& thread : threads_) thread.join();
    }

    int size() const { return size_; }

    // f(piece, worker) for every piece from 0 to count - 1; back when all are done.
    template <class F>
    void each(long count, F f) {
        if (size_ == 1 || count <= 1) {
            for (long i = 0; i < count; i++) f(i, 0);
            return;
        }
        call_ = [](void* context, long piece, int worker) { (*static_cast<F*>(context))(piece, worker); };
        context_ = &f;
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
        busy_.store(size_ - 1, std::memory_order_relaxed);
        wake([] {});
        take(0);
        for (int spins = 0; busy_.load(std::memory_order_acquire); pause(spins)) {
        }
    }

  private:
    static constexpr int SPINS = 4000;  // some tens of microseconds, longer than most pauses between two calls

    static void pause(int& spins) {
        if (++spins < SPINS) {
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        } else {
            std::this_thread::yield();
        }
    }

    template <class Change>
    void wake(Change change) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            change();
            round_.fetch_add(1, std::memory_order_release);
        }
        awake_.notify_all();
    }

    void work(int worker) {
        for (long seen = 0;; seen++) {
            for (int spins = 0; round_.load(std::memory_order_acquire) == seen && spins < SPINS; pause(spins)) {
            }
            if (round_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                awake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
            }
            if (stop_) return;
            take(worker);
            busy_.fetch_sub(1, std::memory_order_acq_rel);
        }
    }

    void take(int worker) {
        for (long i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) call_(context_, i, worker);
    }

    const int size_;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable awake_;
    std::atomic<long> round_{0}, next_{0};
    std::atomic<int> busy_{0};
    bool stop_ = false;
    void (*call_)(void*, long, int) = nullptr;
    void* context_ = nullptr;
    long count_ = 0;
};

// Guards what calls take and give back: teams here, workspaces in network.h. Held across a fork, so that the
// child finds both whole.
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
