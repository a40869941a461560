/* ADD and SUB. Of the two operands, the one with the larger scale, `plain`, is multiplied by a half; the
 * other one is requantized. Where both scales are equal, a half is (1 - 2^-31) and a shift to the right:
 * of a value below 2^28 it lacks less than what the first rounding adds. Of a scale that is next to
 * nothing both are zero. */
#include "elementwise_loops.h"

#define HALF (1 << 30)

typedef struct {
    int32_t base, factor;             /* of the plain operand: minus its zero point, and its sign */
    int32_t start, multiplier, right; /* of the scaled operand */
    int32_t sign;
    int32_t out_multiplier, out_shift, offset, least, most; /* bounds before the offset is added */
} sums;

static inline int32_t add(const void *params, int32_t plain, int32_t scaled)
{
    const sums *const p = (const sums *)params;
    const int32_t y = eb_scale_down(scaled * (1 << 20) + p->start, p->multiplier, p->right);
    const int32_t sum = p->base + plain * p->factor + p->sign * y;
    const int32_t x = eb_requantize(sum, p->out_multiplier, p->out_shift);
    return eb_clamp_i32(x, p->least, p->most) + p->offset;
}

void eb_add_s8(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    const int first = p->multiplier0 == HALF && p->right0 == 0;
    const int32_t plain_zero = first ? p->zero_point0 : p->zero_point1;
    const int32_t scaled_zero = first ? p->zero_point1 : p->zero_point0;
    const int32_t plain_sign = first ? 1 : p->sign1;
    sums s = { -plain_zero * plain_sign * (1 << 19), plain_sign * (1 << 19),
               -scaled_zero * (1 << 20), first ? p->multiplier1 : p->multiplier0,
               first ? p->right1 : p->right0, first ? p->sign1 : 1,
               p->multiplier, -p->right, p->offset, p->min - p->offset, p->max - p->offset };
    if (s.right == 0) {
        s.multiplier = s.multiplier == HALF ? INT32_MAX : 0;
        s.right = 1;
    }
    eb_broadcast loops = p->loops;
    if (!first) {
        memcpy(loops.stride0, p->loops.stride1, sizeof loops.stride0);
        memcpy(loops.stride1, p->loops.stride0, sizeof loops.stride1);
    }
    eb_elementwise(&loops, &s, add, first ? a : b, first ? b : a, out);
}
