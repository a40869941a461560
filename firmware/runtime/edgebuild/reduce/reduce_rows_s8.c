#include "../common/eb_math.h"
#include "reduce.h"

void eb_reduce_rows_s8(const eb_reduce_rows_params *p, const int8_t *input, int8_t *output,
                       void *scratch)
{
    int32_t *const sums = scratch;
    eb_add_rows(&p->rows, input, sums);
    for (uint32_t c = 0; p->rows.last && c < p->rows.channels; c++) {
        const int32_t value = eb_requantize(sums[c] - p->zero_sum, p->multiplier, p->shift);
        output[c] = (int8_t)eb_clamp_i32(value + p->offset, INT8_MIN, INT8_MAX);
    }
}
