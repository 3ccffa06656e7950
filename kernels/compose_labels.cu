// Labels from overlapping low-resolution logits: each pixel is decided once, by one thread.
#include "common.cuh"

__device__ inline i64 load_label(const void *labels, i64 index, i64 bytes) {
    if (bytes == 1) return ((const signed char *)labels)[index];
    if (bytes == 2) return ((const short *)labels)[index];
    if (bytes == 4) return ((const int *)labels)[index];
    return ((const i64 *)labels)[index];
}

__device__ inline void store_label(void *labels, i64 index, i64 bytes, i64 value) {
    if (bytes == 1) {
        ((signed char *)labels)[index] = (signed char)value;
    } else if (bytes == 2) {
        ((short *)labels)[index] = (short)value;
    } else if (bytes == 4) {
        ((int *)labels)[index] = (int)value;
    } else {
        ((i64 *)labels)[index] = value;
    }
}

// Grow boxes, which begin as (height, width, 0, 0), around the logits that are not <= 0.
extern "C" __global__ void grow_boxes(
    const void *logits, i64 type, int *boxes, i64 count, i64 height, i64 width
) {
    i64 cells = height * width;
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        volatile int *seen = boxes + 4 * n;
        int *box = boxes + 4 * n;
        for (i64 i = first_item(); i < cells; i += item_step()) {
            if (load_element(logits, n * cells + i, type) <= 0.0f) continue;
            int y = (int)(i / width);
            int x = (int)(i % width);
            if (y < seen[0]) atomicMin(&box[0], y);
            if (x < seen[1]) atomicMin(&box[1], x);
            if (y + 1 > seen[2]) atomicMax(&box[2], y + 1);
            if (x + 1 > seen[3]) atomicMax(&box[3], x + 1);
        }
    }
}

// Set pixels to 0 that carry one of the sorted ids, anywhere. Here and below, ids are as
// the labels' dtype reads them: signed.
extern "C" __global__ void clear_everywhere(
    void *labels,
    i64 bytes,
    i64 height,
    i64 width,
    i64 row_stride,
    i64 column_stride,
    const i64 *sorted_ids,
    i64 count
) {
    i64 pixels = height * width;
    for (i64 i = first_item(); i < pixels; i += item_step()) {
        i64 place = i / width * row_stride + i % width * column_stride;
        i64 label = load_label(labels, place, bytes);
        if (label == 0) continue;
        i64 low = 0;
        i64 high = count;
        while (low < high) {
            i64 middle = (low + high) / 2;
            if (sorted_ids[middle] < label) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < count && sorted_ids[low] == label) store_label(labels, place, bytes, 0);
    }
}

// Set pixels of id n to 0 inside box n.
extern "C" __global__ void clear_boxes(
    void *labels,
    i64 bytes,
    i64 height,
    i64 width,
    i64 row_stride,
    i64 column_stride,
    const i64 *ids,
    const int *boxes,
    i64 count
) {
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        i64 top = most(boxes[4 * n], 0);
        i64 left = most(boxes[4 * n + 1], 0);
        i64 rows = least(boxes[4 * n + 2], height) - top;
        i64 columns = least(boxes[4 * n + 3], width) - left;
        if (rows <= 0 || columns <= 0) continue;
        for (i64 i = first_item(); i < rows * columns; i += item_step()) {
            i64 y = top + i / columns;
            i64 x = left + i % columns;
            i64 place = y * row_stride + x * column_stride;
            if (load_label(labels, place, bytes) == ids[n]) store_label(labels, place, bytes, 0);
        }
    }
}

struct Window {
    i64 top, left, bottom, right;
};

// First and last pixel, plus one, that cells from `start` to `stop` can reach.
__device__ inline i64 reach_start(i64 start, i64 cells, i64 pixels) {
    return most(floor_divide(pixels * (2 * start - 1) - cells, 2 * cells), 0);
}

__device__ inline i64 reach_stop(i64 stop, i64 cells, i64 pixels) {
    return least(1 - floor_divide(cells - pixels * (2 * stop + 1), 2 * cells), pixels);
}

__device__ inline Window pixel_window(
    const int *box, i64 grid_height, i64 grid_width, i64 height, i64 width
) {
    i64 top = most(box[0], 0);
    i64 left = most(box[1], 0);
    i64 bottom = least(box[2], grid_height);
    i64 right = least(box[3], grid_width);
    Window window = {0, 0, 0, 0};
    if (top >= bottom || left >= right) return window;
    window.top = reach_start(top, grid_height, height);
    window.left = reach_start(left, grid_width, width);
    window.bottom = reach_stop(bottom, grid_height, height);
    window.right = reach_stop(right, grid_width, width);
    return window;
}

// The windows of all objects, which every pixel asks for many times.
extern "C" __global__ void place_windows(
    const int *boxes,
    int *windows,
    i64 count,
    i64 grid_height,
    i64 grid_width,
    i64 height,
    i64 width
) {
    for (i64 n = first_item(); n < count; n += item_step()) {
        Window window = pixel_window(boxes + 4 * n, grid_height, grid_width, height, width);
        windows[4 * n] = (int)window.top;
        windows[4 * n + 1] = (int)window.left;
        windows[4 * n + 2] = (int)window.bottom;
        windows[4 * n + 3] = (int)window.right;
    }
}

__device__ inline int holds(const int *window, int y, int x) {
    return window[0] <= y && y < window[2] && window[1] <= x && x < window[3];
}

__device__ inline int is_in_earlier(const int *windows, i64 n, int y, int x) {
    for (i64 m = 0; m < n; m++) {
        if (holds(windows + 4 * m, y, x)) return 1;
    }
    return 0;
}

// Block row n walks through window n, and leaves out the pixels of earlier windows. Ids are
// as the caller counts them: above 0.
extern "C" __global__ void compose(
    const void *logits,
    i64 type,
    const i64 *ids,
    const int *windows,
    i64 count,
    i64 grid_height,
    i64 grid_width,
    void *labels,
    i64 bytes,
    i64 height,
    i64 width,
    i64 row_stride,
    i64 column_stride
) {
    float row_scale = __fdiv_rn((float)grid_height, (float)height);
    float column_scale = __fdiv_rn((float)grid_width, (float)width);
    for (i64 n = blockIdx.y; n < count; n += gridDim.y) {
        const int *own = windows + 4 * n;
        i64 columns = own[3] - own[1];
        i64 pixels = (own[2] - own[0]) * columns;
        if (columns <= 0) continue;
        for (i64 i = first_item(); i < pixels; i += item_step()) {
            int y = own[0] + (int)(i / columns);
            int x = own[1] + (int)(i % columns);
            i64 place = y * row_stride + x * column_stride;
            if (is_in_earlier(windows, n, y, x)) continue;
            if (load_label(labels, place, bytes) != 0) continue;
            Tap row = tap_at(y, grid_height, row_scale);
            Tap column = tap_at(x, grid_width, column_scale);
            float best = 0.0f;
            i64 winner = 0;
            for (i64 m = n; m < count; m++) {
                if (!holds(windows + 4 * m, y, x)) continue;
                i64 offset = m * grid_height * grid_width;
                float logit = sample(logits, type, offset, grid_width, row, column);
                if (logit > best || (logit == best && winner > ids[m])) {
                    best = logit;
                    winner = ids[m];
                }
            }
            if (winner != 0) store_label(labels, place, bytes, winner);
        }
    }
}
