#include "../common/eb_dsp.h"
#include "reduce_loops.h"

/* Values that surely fit a halfword when they are added: 256 * -128 = -2^15. */
#define BLOCK 256

static inline void sum_four(const int8_t *x, int32_t stride, int32_t n, int32_t sums[4])
{
    while (n > 0) {
        const int32_t block = eb_min_i32(n, BLOCK);
        uint32_t even = 0;
        uint32_t odd = 0;
        for (int32_t i = block; i > 0; i--, x += stride) {
            const uint32_t four = eb_load4(x);
            even = eb_add_even_bytes(even, four);
            odd = eb_add_odd_bytes(odd, four);
        }
        sums[0] += (int16_t)even;
        sums[1] += (int16_t)odd;
        sums[2] += (int32_t)even >> 16;
        sums[3] += (int32_t)odd >> 16;
        n -= block;
    }
}

void eb_reduce_sum_s8(const eb_reduce_params *p, const int8_t *input, int8_t *output)
{
    eb_reduce(p, sum_four, input, output);
}
