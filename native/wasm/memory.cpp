// What a page needs besides the engine's own interface: memory.
#include <cstdlib>

extern "C" __attribute__((export_name("dac_alloc"))) void* dac_alloc(size_t bytes) {
    void* p = nullptr;
    return posix_memalign(&p, 64, bytes) ? nullptr : p;
}

extern "C" __attribute__((export_name("dac_release"))) void dac_release(void* p) { free(p); }

// Destructors of thread_local objects: the one thread never ends.
extern "C" int __cxa_thread_atexit(void (*)(void*), void*, void*) { return 0; }
