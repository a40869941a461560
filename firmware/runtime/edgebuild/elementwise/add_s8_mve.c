/* ADD and SUB with Helium. The operand with the larger scale, `plain`, is multiplied by exactly a half
 * of 2^20: no more than a shift, in two steps of halfwords. The other one is requantized. */
#include "../common/eb_mve.h"
#include "elementwise_mve.h"

#if EB_MVE

#include "elementwise_mve_loops.h"

/* Times 2^16. */
static inline eb_lanes_mve wide(int16x8_t x)
{
    return (eb_lanes_mve){ vshllbq_n_s16(x, 16), vshlltq_n_s16(x, 16) };
}

static inline eb_lanes_mve scale(eb_lanes_mve x, int32_t multiplier, int32_t right)
{
    const int32x4_t m = vdupq_n_s32(multiplier), shift = vdupq_n_s32(-right);
    return (eb_lanes_mve){ eb_scale_mve(x.even, m, shift, 0), eb_scale_mve(x.odd, m, shift, 0) };
}

static inline int16x8_t output(const eb_add_params *p, int32x4_t even, int32x4_t odd)
{
    const eb_lanes_mve x = scale((eb_lanes_mve){ even, odd }, p->multiplier, p->right);
    return eb_narrow_mve(x.even, x.odd, p->offset);
}

static inline eb_lanes_mve plain(const eb_add_params *p, int16x8_t x)
{
    return wide(vshlq_n_s16(vsubq_n_s16(x, (int16_t)p->zero_point0), 3));
}

static inline eb_lanes_mve scaled(const eb_add_params *p, int16x8_t y)
{
    const int16x8_t centred = vshlq_n_s16(vsubq_n_s16(y, (int16_t)p->zero_point1), 4);
    return scale(wide(centred), p->multiplier1, p->right1);
}

static inline int16x8_t add(const void *params, int16x8_t a, int16x8_t b)
{
    const eb_add_params *const p = (const eb_add_params *)params;
    const eb_lanes_mve x = plain(p, a), y = scaled(p, b);
    return output(p, vaddq_s32(x.even, y.even), vaddq_s32(x.odd, y.odd));
}

static inline int16x8_t plain_less_scaled(const void *params, int16x8_t a, int16x8_t b)
{
    const eb_add_params *const p = (const eb_add_params *)params;
    const eb_lanes_mve x = plain(p, a), y = scaled(p, b);
    return output(p, vsubq_s32(x.even, y.even), vsubq_s32(x.odd, y.odd));
}

static inline int16x8_t scaled_less_plain(const void *params, int16x8_t a, int16x8_t b)
{
    const eb_add_params *const p = (const eb_add_params *)params;
    const eb_lanes_mve x = plain(p, a), y = scaled(p, b);
    return output(p, vsubq_s32(y.even, x.even), vsubq_s32(y.odd, x.odd));
}

/* The same with the second operand as the first. */
static eb_add_params swapped(const eb_add_params *p)
{
    eb_add_params q = *p;
    memcpy(q.loops.stride0, p->loops.stride1, sizeof q.loops.stride0);
    memcpy(q.loops.stride1, p->loops.stride0, sizeof q.loops.stride1);
    q.zero_point0 = p->zero_point1;
    q.zero_point1 = p->zero_point0;
    q.multiplier1 = p->multiplier0;
    q.right1 = p->right0;
    return q;
}

void eb_add_s8_mve(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    /* A copy: for all that C knows, the output lies over the parameters. */
    const int first = p->multiplier0 == 1 << 30 && p->right0 == 0;
    const eb_add_params here = first ? *p : swapped(p);
    const int8_t *const x = first ? a : b, *const y = first ? b : a;
    if (here.sign1 > 0) {
        eb_elementwise_mve(&here.loops, &here, add, x, y, out);
    } else if (first) {
        eb_elementwise_mve(&here.loops, &here, plain_less_scaled, x, y, out);
    } else {
        eb_elementwise_mve(&here.loops, &here, scaled_less_plain, x, y, out);
    }
    const int32_t *const n = here.loops.count;
    eb_clamp_all_mve(out, n[0] * n[1] * n[2] * n[3], here.min, here.max);
}

#else

void eb_add_s8_mve(const eb_add_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_add_s8(p, a, b, out);
}

#endif
