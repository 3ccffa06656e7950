// Mask logits, four times as large, as the memory encoder reads them: one pass, no
// intermediate images.
#include "common.cuh"

#define UPSCALE 4

extern "C" __global__ void prepare_mask(
    const void *logits,
    i64 type,
    void *prepared,
    i64 prepared_type,
    i64 count,
    i64 height,
    i64 width,
    i64 binarize,
    float scale,
    float bias
) {
    i64 tall = UPSCALE * height;
    i64 wide = UPSCALE * width;
    for (i64 line = blockIdx.y; line < count * tall; line += gridDim.y) {
        Tap row = tap_at(line % tall, height, 1.0f / UPSCALE);
        i64 offset = line / tall * height * width;
        for (i64 x = first_item(); x < wide; x += item_step()) {
            Tap column = tap_at(x, width, 1.0f / UPSCALE);
            float logit = sample(logits, type, offset, width, row, column);
            float mask = logit > 0.0f ? 1.0f : 0.0f;
            if (!binarize) mask = 1.0f / (1.0f + expf(-logit));
            float value = __fadd_rn(__fmul_rn(mask, scale), bias);
            store_element(prepared, line * wide + x, prepared_type, value);
        }
    }
}
