// 8-connected components of N masks by union-find; the launches do not depend on N.
//
// A parent is the position of another pixel of the component in the same mask, always an
// earlier one in raster order, or the pixel itself: the root is the component's first pixel.
#include "common.cuh"

// Runs are cut at multiples of this, which bounds what one thread scans.
#define SEGMENT 32

__device__ inline int find_root(int *parent, int pixel) {
    volatile int *links = parent;
    int next = links[pixel];
    while (next != pixel) {
        // halve the path; whatever other threads write meanwhile also lies on the way up
        int after = links[next];
        if (after != next) links[pixel] = after;
        pixel = next;
        next = after;
    }
    return pixel;
}

// The same without a write: a shortcut that was read a while ago may be behind the root that
// another thread has stored there for good.
__device__ inline int follow_to_root(const int *parent, int pixel) {
    const volatile int *links = parent;
    int next = links[pixel];
    while (next != pixel) {
        pixel = next;
        next = links[pixel];
    }
    return pixel;
}

// Hang the later root below the earlier one; start again if it was no root any more.
__device__ inline void unite(int *parent, int one, int other) {
    while (true) {
        one = find_root(parent, one);
        other = find_root(parent, other);
        if (one == other) return;
        int later = one < other ? other : one;
        int earlier = one < other ? one : other;
        int old = atomicMin(&parent[later], earlier);
        if (old == later) return;
        one = old;
        other = earlier;
    }
}

__device__ inline int is_segment_start(const unsigned char *mask, int x) {
    return x % SEGMENT == 0 || !mask[-1];
}

extern "C" __global__ void cc_start(
    const unsigned char *mask, int *parent, int *area, i64 count, i64 height, i64 width
) {
    i64 pixels = height * width;
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            const unsigned char *here = mask + n * pixels + i;
            int x = (int)i % (int)width;
            int back = 0;
            if (*here) {
                while (!is_segment_start(here - back, x - back)) back++;
            }
            parent[n * pixels + i] = *here ? (int)i - back : -1;
            area[n * pixels + i] = 0;
        }
    }
}

// A pixel joins the row above only where its left neighbour does not do it for both.
__device__ inline void join_above(
    const unsigned char *here, int *parent, int pixel, int x, int width
) {
    int left = x > 0 && here[-1];
    int right = x + 1 < width && here[1];
    int above_left = x > 0 && here[-width - 1];
    int above_right = x + 1 < width && here[-width + 1];
    if (here[-width]) {
        if (!(left && above_left)) unite(parent, pixel, pixel - width);
        return;
    }
    if (above_left && !left) unite(parent, pixel, pixel - width - 1);
    if (above_right && !right) unite(parent, pixel, pixel - width + 1);
}

extern "C" __global__ void cc_join(
    const unsigned char *mask, int *parent, i64 count, i64 height, i64 width
) {
    i64 pixels = height * width;
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        int *own = parent + n * pixels;
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            const unsigned char *here = mask + n * pixels + i;
            if (!*here) continue;
            int x = (int)i % (int)width;
            if (x > 0 && x % SEGMENT == 0 && here[-1]) unite(own, (int)i, (int)i - 1);
            if (i >= width) join_above(here, own, (int)i, x, (int)width);
        }
    }
}

// Point every pixel at its root, count areas there, and mark the roots.
extern "C" __global__ void cc_flatten(
    const unsigned char *mask,
    int *parent,
    int *area,
    unsigned char *is_root,
    i64 count,
    i64 height,
    i64 width
) {
    i64 pixels = height * width;
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        int *own = parent + n * pixels;
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            const unsigned char *here = mask + n * pixels + i;
            is_root[n * pixels + i] = 0;
            if (!*here) continue;
            int root = follow_to_root(own, (int)i);
            own[i] = root;
            is_root[n * pixels + i] = root == i;
            int x = (int)i % (int)width;
            if (!is_segment_start(here, x)) continue;
            int length = 1;
            while ((x + length) % SEGMENT && x + length < width && here[length]) length++;
            atomicAdd(&area[n * pixels + root], length);
        }
    }
}

// Parents become labels: how many roots there are up to the component's own.
extern "C" __global__ void cc_number(
    int *parent, int *area, const int *rank, i64 count, i64 pixels
) {
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        i64 base = n * pixels;
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            int root = parent[base + i];
            if (root != i && root >= 0) area[base + i] = area[base + root];
            parent[base + i] = root < 0 ? 0 : rank[base + root];
        }
    }
}

extern "C" __global__ void cc_small(
    const int *parent, const int *area, unsigned char *small, i64 max_area, i64 count, i64 pixels
) {
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        i64 base = n * pixels;
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            int root = parent[base + i];
            small[base + i] = root >= 0 && area[base + root] <= max_area;
        }
    }
}
