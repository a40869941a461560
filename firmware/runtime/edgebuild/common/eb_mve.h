/* Helium (MVE) as the kernels use it: channels by eight, and requantization.
 *
 * Kernels for it have twins of their inner loops in plain C, which read the same layout: what is laid
 * out for the one runs on every other core, with the same bytes. */
#ifndef EB_MVE_H
#define EB_MVE_H

#include "eb_channel.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define EB_MVE 1
#include <arm_mve.h>
#else
#define EB_MVE 0
#endif

/* Eight channels in the order 0, 2, 4, 6, 1, 3, 5, 7: instructions that widen and narrow take even
 * and odd lanes apart. Those beyond the last are zero. */
typedef struct {
    int32_t multiplier[8];
    int32_t shift[8]; /* 0 to -31: never to the left */
} eb_scales_mve;

/* Where channel i of eight lies. */
static inline int32_t eb_lane(int32_t i) { return i % 2 * 4 + i / 2; }

#if EB_MVE

/* Both roundings of eb_requantize. VQRDMULH is the first. VRSHL rounds halves up, so negative values
 * become one less before, but where nothing is shifted: docs/kernels.md. `floors`: negative values
 * may come out one too high, as long as they stay negative or zero. */
static inline int32x4_t eb_scale_mve(int32x4_t acc, int32x4_t multiplier, int32x4_t shift,
                                     int floors)
{
    const int32x4_t x = vqrdmulhq_s32(acc, multiplier);
    if (floors) {
        return vrshlq_s32(x, shift);
    }
    const int32x4_t less = vshrq_n_s32(vandq_s32(x, shift), 31);
    return vrshlq_s32(vaddq_s32(x, less), shift);
}

/* Eight results of that, even and odd ones, plus the zero point: each in the low byte of a halfword,
 * saturated. Saturating to 16 bits before changes no result. */
static inline int16x8_t eb_narrow_mve(int32x4_t even, int32x4_t odd, int32_t offset)
{
    int16x8_t x = vqmovnbq_s32(vreinterpretq_s16_s32(even), even);
    x = vqaddq_n_s16(vqmovntq_s32(x, odd), (int16_t)offset);
    return vreinterpretq_s16_s8(vqmovnbq_s16(vreinterpretq_s8_s16(x), x));
}

/* Eight values, even and odd ones. */
typedef struct {
    int32x4_t even, odd;
} eb_lanes_mve;

static inline eb_lanes_mve eb_load_lanes_mve(const int32_t *x)
{
    return (eb_lanes_mve){ vldrwq_s32(x), vldrwq_s32(x + 4) };
}

/* The same eight scales in registers. */
typedef struct {
    eb_lanes_mve multiplier, shift;
} eb_scales_in_registers;

static inline eb_scales_in_registers eb_load_scales_mve(const eb_scales_mve *s)
{
    return (eb_scales_in_registers){ eb_load_lanes_mve(s->multiplier), eb_load_lanes_mve(s->shift) };
}

/* The outputs of eight channels, in the low bytes. */
static inline int16x8_t eb_outputs_mve(eb_lanes_mve x, eb_scales_in_registers s, int32_t offset,
                                       int floors)
{
    const int32x4_t even = eb_scale_mve(x.even, s.multiplier.even, s.shift.even, floors);
    const int32x4_t odd = eb_scale_mve(x.odd, s.multiplier.odd, s.shift.odd, floors);
    return eb_narrow_mve(even, odd, offset);
}

#endif

/* The twin of eb_scale_mve and eb_narrow_mve for channel i of eight. */
static inline int8_t eb_scaled(int32_t acc, const eb_scales_mve *s, int32_t i, int32_t offset)
{
    const int32_t lane = eb_lane(i);
    const int32_t x = eb_requantize(acc, s->multiplier[lane], s->shift[lane]) + offset;
    return (int8_t)eb_clamp_i32(x, INT8_MIN, INT8_MAX);
}

/* The fused activation of a whole layer; does nothing where its range is all of int8. */
static inline void eb_clamp_all_mve(int8_t *x, int32_t n, int32_t min, int32_t max)
{
    if (min <= INT8_MIN && max >= INT8_MAX) {
        return;
    }
#if EB_MVE
    const int8x16_t low = vdupq_n_s8((int8_t)min), high = vdupq_n_s8((int8_t)max);
    for (; n > 0; n -= 16, x += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)n);
        vstrbq_p_s8(x, vminq_s8(vmaxq_s8(vldrbq_z_s8(x, some), low), high), some);
    }
#else
    for (; n > 0; n--, x++) {
        *x = (int8_t)eb_clamp_i32(*x, min, max);
    }
#endif
}

#endif /* EB_MVE_H */
