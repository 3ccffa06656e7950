// Rotary position encoding: turn channel pairs by angles that many grids share.
#include "common.cuh"

// `rows` rows, each of `grids` grids of `pairs` channel pairs and then `rest` pairs that
// stay as they are; `rows_per_table` of the rows share a table.
extern "C" __global__ void rotate_pairs(
    const void *x,
    i64 type,
    const float *cosine,
    const float *sine,
    void *turned,
    i64 rows,
    i64 rows_per_table,
    i64 grids,
    i64 pairs,
    i64 rest,
    float direction
) {
    i64 parts = grids + (rest > 0);
    for (i64 part = blockIdx.y; part < rows * parts; part += gridDim.y) {
        i64 row = part / parts;
        i64 grid = part % parts;
        i64 start = row * (grids * pairs + rest) + grid * pairs;
        i64 table = row / rows_per_table * pairs;
        i64 count = grid < grids ? pairs : rest;
        for (i64 i = first_item(); i < count; i += item_step()) {
            i64 place = 2 * (start + i);
            float even = load_element(x, place, type);
            float odd = load_element(x, place + 1, type);
            float first = even;
            float second = odd;
            if (grid < grids) {
                float c = cosine[table + i];
                float s = direction * sine[table + i];
                first = __fsub_rn(__fmul_rn(even, c), __fmul_rn(odd, s));
                second = __fadd_rn(__fmul_rn(even, s), __fmul_rn(odd, c));
            }
            store_element(turned, place, type, first);
            store_element(turned, place + 1, type, second);
        }
    }
}
