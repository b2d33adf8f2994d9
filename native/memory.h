// Aligned, uninitialised blocks of floats.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dac {

struct Free {
    void operator()(void* p) const {
#if defined(_WIN32)
        _aligned_free(p);
#else
        std::free(p);
#endif
    }
};

using Floats = std::unique_ptr<float[], Free>;

// Large blocks request huge pages: weights are read in long strides, and 4 KiB pages would miss the TLB.
inline Floats floats(size_t count) {
    const size_t huge = size_t(1) << 21;
    const size_t align = count * sizeof(float) >= huge ? huge : 64;
    const size_t bytes = (count * sizeof(float) + align) / align * align;
#if defined(_WIN32)
    void* p = _aligned_malloc(bytes, align);
#else
    void* p = nullptr;
    if (posix_memalign(&p, align, bytes)) p = nullptr;
#endif
    if (!p) throw std::bad_alloc();
#if defined(__linux__)
    if (align == huge) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return Floats(static_cast<float*>(p));
}

}  // namespace dac
