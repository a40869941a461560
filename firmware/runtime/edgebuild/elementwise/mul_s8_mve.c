#include "../common/eb_mve.h"
#include "elementwise_mve.h"

#if EB_MVE

#include "elementwise_mve_loops.h"

static inline int16x8_t mul(const void *params, int16x8_t a, int16x8_t b)
{
    const eb_mul_params *const p = (const eb_mul_params *)params;
    const int32x4_t multiplier = vdupq_n_s32(p->multiplier), shift = vdupq_n_s32(p->shift);
    const int16x8_t x = vsubq_n_s16(a, (int16_t)p->zero_point0);
    const int16x8_t y = vsubq_n_s16(b, (int16_t)p->zero_point1);
    return eb_narrow_mve(eb_scale_mve(vmullbq_int_s16(x, y), multiplier, shift, 0),
                         eb_scale_mve(vmulltq_int_s16(x, y), multiplier, shift, 0), p->offset);
}

void eb_mul_s8_mve(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    /* A copy: for all that C knows, the output lies over the parameters. */
    const eb_mul_params here = *p;
    eb_elementwise_mve(&here.loops, &here, mul, a, b, out);
    const int32_t *const n = here.loops.count;
    eb_clamp_all_mve(out, n[0] * n[1] * n[2] * n[3], here.min, here.max);
}

#else

void eb_mul_s8_mve(const eb_mul_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_mul_s8(p, a, b, out);
}

#endif
