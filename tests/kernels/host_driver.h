// The calls of the CUDA driver that ops/_driver.py makes, for kernels built for the host:
// code is the path of a library, the one device has one context.
#pragma once
#include <cstddef>
#include <dlfcn.h>
#include <string>
#include <vector>

typedef int Status;
typedef void (*Run)(const unsigned *, unsigned, unsigned, void **);

static const Status INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_FOUND = 500;
static int primary;
static std::vector<void *> contexts;
static void *last_stream;

extern "C" {
Status cuInit(unsigned flags) { return flags == 0 ? 0 : INVALID_VALUE; }

Status cuDeviceGet(int *device, int ordinal) {
    *device = 70 + ordinal;
    return ordinal == 0 ? 0 : INVALID_VALUE;
}

Status cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = &primary;
    return device == 70 ? 0 : INVALID_VALUE;
}

Status cuCtxPushCurrent_v2(void *context) {
    contexts.push_back(context);
    return context == &primary ? 0 : INVALID_CONTEXT;
}

Status cuCtxPopCurrent_v2(void **context) {
    if (contexts.empty()) return INVALID_CONTEXT;
    *context = contexts.back();
    contexts.pop_back();
    return 0;
}

Status cuModuleLoadData(void **module, const void *image) {
    if (contexts.empty()) return INVALID_CONTEXT;
    *module = dlopen((const char *)image, RTLD_NOW);
    return *module ? 0 : INVALID_VALUE;
}

Status cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = dlsym(module, ("run_" + std::string(name)).c_str());
    return *function ? 0 : NOT_FOUND;
}

Status cuLaunchKernel(
    void *function,
    unsigned grid_x,
    unsigned grid_y,
    unsigned grid_z,
    unsigned block_x,
    unsigned block_y,
    unsigned block_z,
    unsigned shared_bytes,
    void *stream,
    void **parameters,
    void **extra
) {
    if (contexts.empty()) return INVALID_CONTEXT;
    if (grid_x * grid_y * block_x == 0 || extra || shared_bytes) return INVALID_VALUE;
    if (grid_z != 1 || block_y != 1 || block_z != 1) return INVALID_VALUE;
    last_stream = stream;
    unsigned sizes[] = {grid_x, grid_y, block_x};
    ((Run)function)(sizes, 1, 1, parameters);
    return 0;
}

Status cuGetErrorString(Status status, const char **text) {
    *text = status == NOT_FOUND ? "named symbol not found" : "invalid argument";
    return 0;
}

size_t contexts_left() { return contexts.size(); }
void *stream_seen() { return last_stream; }
}
