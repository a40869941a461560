#include "elementwise_neon_loops.h"

/* x * multiplier * 2^(-31 - right), rounded twice, of vectors. */
typedef struct {
    int32x4_t multiplier, right;
} factor;

typedef struct {
    int8x8_t zero_point[2];
    factor operand[2], sum;
    eb_narrowing out;
} context;

static inline factor load(int32_t multiplier, int32_t right)
{
    return (factor){ vdupq_n_s32(multiplier), vdupq_n_s32(-right) };
}

static inline int32x4_t scale(int32x4_t x, factor f)
{
    return eb_divide_by_pot_neon(vqrdmulhq_s32(x, f.multiplier), f.right);
}

/* Eight values, centred, shifted left by 20 bits and scaled. */
static inline int32x4x2_t operand(int8x8_t x, int8x8_t zero_point, factor f)
{
    const int16x8_t centred = vshlq_n_s16(vsubl_s8(x, zero_point), 6);
    return (int32x4x2_t){ { scale(vshll_n_s16(vget_low_s16(centred), 14), f),
                            scale(vshll_high_n_s16(centred, 14), f) } };
}

static inline int8x16_t combine(const context *c, int8x16_t a, int8x16_t b, int subtract)
{
    const int32x4x2_t x[2] = { operand(vget_low_s8(a), c->zero_point[0], c->operand[0]),
                               operand(vget_high_s8(a), c->zero_point[0], c->operand[0]) };
    const int32x4x2_t y[2] = { operand(vget_low_s8(b), c->zero_point[1], c->operand[1]),
                               operand(vget_high_s8(b), c->zero_point[1], c->operand[1]) };
    int32x4_t sum[4];
    for (int i = 0; i < 4; i++) {
        const int32x4_t v = x[i / 2].val[i % 2], w = y[i / 2].val[i % 2];
        sum[i] = scale(subtract ? vsubq_s32(v, w) : vaddq_s32(v, w), c->sum);
    }
    return eb_narrow_16_neon(sum, c->out);
}

static inline int8x16_t add(const void *c, int8x16_t a, int8x16_t b)
{
    return combine((const context *)c, a, b, 0);
}

static inline int8x16_t subtract(const void *c, int8x16_t a, int8x16_t b)
{
    return combine((const context *)c, a, b, 1);
}

void eb_add_s8_neon(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    const context c = {
        .zero_point = { vdup_n_s8((int8_t)p->zero_point0), vdup_n_s8((int8_t)p->zero_point1) },
        .operand = { load(p->multiplier0, p->right0), load(p->multiplier1, p->right1) },
        .sum = load(p->multiplier, p->right),
        .out = eb_narrowing_neon(p->offset, p->min, p->max),
    };
    eb_elementwise_neon(&p->loops, &c, p->sign1 < 0 ? subtract : add, a, b, out);
}
