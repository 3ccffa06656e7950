// What all kernels share: sizes, elements of three dtypes, exact bilinear sampling.
//
// Integers come as long long, floats as float, tensors as pointers; see kernels/README.md.
// Nothing here needs a header of the CUDA toolkit, which pip does not install everywhere.
#pragma once

typedef long long i64;

enum ElementType { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

__device__ inline i64 first_item() {
    return (i64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ inline i64 item_step() {
    return (i64)gridDim.x * blockDim.x;
}

__device__ inline i64 least(i64 a, i64 b) {
    return a < b ? a : b;
}

__device__ inline i64 most(i64 a, i64 b) {
    return a < b ? b : a;
}

// a / b rounded down, for b > 0.
__device__ inline i64 floor_divide(i64 a, i64 b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

__device__ inline float half_to_float(unsigned short half) {
    unsigned sign = (unsigned)(half & 0x8000) << 16;
    unsigned exponent = (half >> 10) & 0x1f;
    unsigned fraction = half & 0x3ff;
    if (exponent == 0) {
        unsigned size = __float_as_uint(__fmul_rn((float)fraction, 5.9604644775390625e-8f));
        return __uint_as_float(sign | size);
    }
    unsigned wide = exponent == 31 ? 0xff : exponent + 112;
    return __uint_as_float(sign | (wide << 23) | (fraction << 13));
}

// Round to nearest, ties to even, as torch does.
__device__ inline unsigned short float_to_half(float value) {
    unsigned bits = __float_as_uint(value);
    unsigned sign = (bits >> 16) & 0x8000;
    unsigned size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (unsigned short)(sign | 0x7e00);
    if (size >= 0x477ff000) return (unsigned short)(sign | 0x7c00);
    if (size < 0x38800000) {
        // below the smallest normal number: count in units of 2^-24
        float units = __fmul_rn(__uint_as_float(size), 16777216.0f);
        unsigned rounded = __float_as_uint(__fadd_rn(units, 8388608.0f)) & 0x7fffff;
        return (unsigned short)(sign | rounded);
    }
    size += 0xfff + ((size >> 13) & 1);
    return (unsigned short)(sign | ((size - 0x38000000) >> 13));
}

__device__ inline unsigned short float_to_bfloat(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

__device__ inline float load_element(const void *elements, i64 index, i64 type) {
    if (type == FLOAT32) return ((const float *)elements)[index];
    unsigned short bits = ((const unsigned short *)elements)[index];
    return type == FLOAT16 ? half_to_float(bits) : __uint_as_float((unsigned)bits << 16);
}

__device__ inline void store_element(void *elements, i64 index, i64 type, float value) {
    if (type == FLOAT32) {
        ((float *)elements)[index] = value;
    } else {
        unsigned short bits = type == FLOAT16 ? float_to_half(value) : float_to_bfloat(value);
        ((unsigned short *)elements)[index] = bits;
    }
}

// The two cells that a pixel's centre lies between; `scale` is cells / pixels.
struct Tap {
    i64 near, far;
    float near_weight, far_weight;
};

__device__ inline Tap tap_at(i64 pixel, i64 cells, float scale) {
    float position = __fsub_rn(__fmul_rn(scale, __fadd_rn((float)pixel, 0.5f)), 0.5f);
    if (position < 0.0f) position = 0.0f;
    Tap tap;
    tap.near = least((i64)position, cells - 1);
    tap.far = least(tap.near + 1, cells - 1);
    tap.far_weight = __fsub_rn(position, (float)tap.near);
    tap.near_weight = __fsub_rn(1.0f, tap.far_weight);
    return tap;
}

__device__ inline float mix(float near, float far, Tap tap) {
    return __fadd_rn(__fmul_rn(near, tap.near_weight), __fmul_rn(far, tap.far_weight));
}

// Along the rows first, then down, as ops/_bilinear.py does it.
__device__ inline float sample(
    const void *grid, i64 type, i64 offset, i64 width, Tap row, Tap column
) {
    i64 upper = offset + row.near * width;
    i64 lower = offset + row.far * width;
    float above = mix(
        load_element(grid, upper + column.near, type),
        load_element(grid, upper + column.far, type),
        column
    );
    float below = mix(
        load_element(grid, lower + column.near, type),
        load_element(grid, lower + column.far, type),
        column
    );
    return mix(above, below, row);
}
