#include "pool2d.h"

void eb_average_pool2d_rows_s8(const eb_average_pool2d_rows_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    int32_t *const sums = scratch;
    eb_add_rows(&p->rows, input, sums);
    for (uint32_t c = 0; p->rows.last && c < p->rows.channels; c++) {
        const int32_t half = sums[c] > 0 ? p->count / 2 : -(p->count / 2);
        output[c] = (int8_t)eb_clamp_i32((sums[c] + half) / p->count, p->min, p->max);
    }
}
