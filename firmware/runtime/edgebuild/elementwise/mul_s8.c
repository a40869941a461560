#include "elementwise_loops.h"

static inline int32_t mul(const void *params, int32_t a, int32_t b)
{
    const eb_mul_params *const p = (const eb_mul_params *)params;
    const int32_t product = (a - p->zero_point0) * (b - p->zero_point1);
    const int32_t x = eb_requantize(product, p->multiplier, p->shift) + p->offset;
    return eb_clamp_i32(x, p->min, p->max);
}

void eb_mul_s8(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise(&p->loops, p, mul, a, b, out);
}
