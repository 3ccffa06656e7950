// Rotary position encoding: turn channel pairs by angles that many grids share.
#include "common.cuh"

// `grids` grids of `pairs` channel pairs; `grids_per_table` of them in a row share a table.
extern "C" __global__ void rotate_pairs(
    const void *x,
    i64 type,
    const float *cosine,
    const float *sine,
    void *turned,
    i64 grids,
    i64 grids_per_table,
    i64 pairs,
    float direction
) {
    for (i64 grid = blockIdx.y; grid < grids; grid += gridDim.y) {
        i64 table = grid / grids_per_table * pairs;
        for (i64 i = first_item(); i < pairs; i += item_step()) {
            i64 place = 2 * (grid * pairs + i);
            float even = load_element(x, place, type);
            float odd = load_element(x, place + 1, type);
            float c = cosine[table + i];
            float s = direction * sine[table + i];
            float first = __fsub_rn(__fmul_rn(even, c), __fmul_rn(odd, s));
            float second = __fadd_rn(__fmul_rn(even, s), __fmul_rn(odd, c));
            store_element(turned, place, type, first);
            store_element(turned, place + 1, type, second);
        }
    }
}
