#include "resize.h"

#include <string.h>

void eb_resize_nearest(const eb_resize_nearest_params *p, const void *input, void *output)
{
    const uint8_t *in = (const uint8_t *)input;
    uint8_t *out = (uint8_t *)output;
    const int32_t row_bytes = p->in_w * p->pixel;
    const int32_t out_row_bytes = p->out_w * p->pixel;
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t y = 0; y < p->out_h; y++) {
            if (y > 0 && p->rows[y] == p->rows[y - 1]) {
                memcpy(out, out - out_row_bytes, (size_t)out_row_bytes);
                out += out_row_bytes;
                continue;
            }
            const uint8_t *row = in + p->rows[y] * row_bytes;
            for (int32_t x = 0; x < p->out_w; x++) {
                memcpy(out, row + p->columns[x] * p->pixel, (size_t)p->pixel);
                out += p->pixel;
            }
        }
        in += p->in_h * row_bytes;
    }
}
