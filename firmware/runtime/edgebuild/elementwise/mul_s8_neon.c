#include "elementwise_neon_loops.h"

typedef struct {
    int8x8_t zero_point[2];
    int32x4_t multiplier, left, right;
    eb_narrowing out;
} context;

static inline int32x4_t requantize(const context *c, int32x4_t x)
{
    const int32x4_t high = vqrdmulhq_s32(vshlq_s32(x, c->left), c->multiplier);
    return eb_divide_by_pot_neon(high, c->right);
}

static inline int8x16_t mul(const void *parameters, int8x16_t a, int8x16_t b)
{
    const context *const c = (const context *)parameters;
    const int16x8_t x[2] = { vsubl_s8(vget_low_s8(a), c->zero_point[0]),
                             vsubl_s8(vget_high_s8(a), c->zero_point[0]) };
    const int16x8_t y[2] = { vsubl_s8(vget_low_s8(b), c->zero_point[1]),
                             vsubl_s8(vget_high_s8(b), c->zero_point[1]) };
    int32x4_t product[4];
    for (int i = 0; i < 2; i++) {
        product[2 * i] = requantize(c, vmull_s16(vget_low_s16(x[i]), vget_low_s16(y[i])));
        product[2 * i + 1] = requantize(c, vmull_high_s16(x[i], y[i]));
    }
    return eb_narrow_16_neon(product, c->out);
}

void eb_mul_s8_neon(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    const context c = {
        .zero_point = { vdup_n_s8((int8_t)p->zero_point0), vdup_n_s8((int8_t)p->zero_point1) },
        .multiplier = vdupq_n_s32(p->multiplier),
        .left = vdupq_n_s32(eb_max_i32(p->shift, 0)),
        .right = vdupq_n_s32(eb_min_i32(p->shift, 0)),
        .out = eb_narrowing_neon(p->offset, p->min, p->max),
    };
    eb_elementwise_neon(&p->loops, &c, mul, a, b, out);
}
