// CUDA, as far as kernels/*.cu need it, for a C++ compiler: threads run one after another in
// an order that the test chooses, or on several cores at once.
#pragma once
#include <cmath>
#include <cstring>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__

struct Dimensions {
    unsigned x, y, z;
};
static thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;
static thread_local unsigned calls;

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Now and then another thread comes first, as on a device.
static inline void stumble() {
    if (++calls % 7 == 0) std::this_thread::yield();
}

static inline int atomicAdd(int *place, int value) {
    return __atomic_fetch_add(place, value, __ATOMIC_SEQ_CST);
}

template <class Better> static inline int exchange_if(int *place, int value, Better better) {
    stumble();
    int old = __atomic_load_n(place, __ATOMIC_SEQ_CST);
    while (better(value, old)) {
        if (__atomic_compare_exchange_n(
                place, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST
            )) {
            break;
        }
    }
    return old;
}

static inline int atomicMin(int *place, int value) {
    return exchange_if(place, value, [](int a, int b) { return a < b; });
}

static inline int atomicMax(int *place, int value) {
    return exchange_if(place, value, [](int a, int b) { return a > b; });
}

// Run thread number `turn` of a launch.
template <class... A, std::size_t... I>
void run_thread(void (*kernel)(A...), void **parameters, unsigned turn, std::index_sequence<I...>) {
    threadIdx = {turn % blockDim.x, 0, 0};
    blockIdx = {turn / blockDim.x % gridDim.x, turn / blockDim.x / gridDim.x, 0};
    kernel(*(A *)parameters[I]...);
}

// Parameters are given as to cuLaunchKernel. `step` is coprime to the number of threads.
template <class... A>
void run_grid(
    void (*kernel)(A...),
    const unsigned *sizes,
    unsigned step,
    unsigned workers,
    void **parameters
) {
    unsigned long long total = 1ull * sizes[0] * sizes[1] * sizes[2];
    auto work = [=](unsigned worker) {
        gridDim = {sizes[0], sizes[1], 1};
        blockDim = {sizes[2], 1, 1};
        for (unsigned long long i = worker; i < total; i += workers) {
            run_thread(kernel, parameters, i * step % total, std::index_sequence_for<A...>{});
        }
    };
    std::vector<std::thread> others;
    for (unsigned worker = 1; worker < workers; worker++) others.emplace_back(work, worker);
    work(0);
    for (auto &other : others) other.join();
}

#define HOST_KERNEL(name)                                                              \
    extern "C" void run_##name(                                                        \
        const unsigned *sizes, unsigned step, unsigned workers, void **parameters      \
    ) {                                                                                \
        run_grid(name, sizes, step, workers, parameters);                              \
    }
