#include "elementwise_loops.h"

/* x * multiplier * 2^(-31 - right), rounded twice. */
static inline int32_t scale(int32_t x, int32_t multiplier, int32_t right)
{
    return eb_rounding_divide_by_pot(eb_doubling_high_mul(x, multiplier), right);
}

static inline int32_t add(const void *params, int32_t a, int32_t b)
{
    const eb_add_params *const p = (const eb_add_params *)params;
    const int32_t x = scale((a - p->zero_point0) * (1 << 20), p->multiplier0, p->right0);
    const int32_t y = scale((b - p->zero_point1) * (1 << 20), p->multiplier1, p->right1);
    const int32_t sum = scale(x + p->sign1 * y, p->multiplier, p->right) + p->offset;
    return eb_clamp_i32(sum, p->min, p->max);
}

void eb_add_s8(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise(&p->loops, p, add, a, b, out);
}
