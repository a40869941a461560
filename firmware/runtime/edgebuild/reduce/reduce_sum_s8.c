#include "reduce_loops.h"

static inline void sum_four(const int8_t *x, int32_t stride, int32_t n, int32_t sums[4])
{
    int32_t a = sums[0];
    int32_t b = sums[1];
    int32_t c = sums[2];
    int32_t d = sums[3];
    for (; n > 0; n--, x += stride) {
        a += x[0];
        b += x[1];
        c += x[2];
        d += x[3];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

void eb_reduce_sum_s8(const eb_reduce_params *p, const int8_t *input, int8_t *output)
{
    eb_reduce(p, sum_four, input, output);
}
