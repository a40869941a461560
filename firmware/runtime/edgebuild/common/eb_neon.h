/* AArch64's Advanced SIMD as the kernels use it: TFLite Micro's rounding, narrowing, tails. */
#ifndef EB_NEON_H
#define EB_NEON_H

#if !defined(__aarch64__)
#error "this kernel needs AArch64"
#endif

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

/* x / 2^-right, halves rounded away from zero, as eb_rounding_divide_by_pot; -31 <= right <= 0.
 * SRSHL rounds halves up: negative values are made one less first. */
static inline int32x4_t eb_divide_by_pot_neon(int32x4_t x, int32x4_t right)
{
    return vrshlq_s32(vsraq_n_s32(x, vandq_s32(x, right), 31), right);
}

/* What follows requantization, in registers. */
typedef struct {
    int16x8_t offset;
    int8x16_t min, max;
} eb_narrowing;

static inline eb_narrowing eb_narrowing_neon(int32_t offset, int32_t min, int32_t max)
{
    return (eb_narrowing){ vdupq_n_s16((int16_t)offset), vdupq_n_s8((int8_t)min),
                           vdupq_n_s8((int8_t)max) };
}

/* Offset added: saturation on the way changes nothing, as the offset is within int8. */
static inline int16x8_t eb_offset_neon(int32x4_t low, int32x4_t high, eb_narrowing n)
{
    return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), n.offset);
}

/* Offset added, clamped. */
static inline int8x8_t eb_narrow_neon(int32x4_t low, int32x4_t high, eb_narrowing n)
{
    const int8x8_t x = vqmovn_s16(eb_offset_neon(low, high, n));
    return vmin_s8(vmax_s8(x, vget_low_s8(n.min)), vget_low_s8(n.max));
}

/* The same for sixteen values. */
static inline int8x16_t eb_narrow_16_neon(const int32x4_t x[4], eb_narrowing n)
{
    const int16x8_t low = eb_offset_neon(x[0], x[1], n);
    const int16x8_t high = eb_offset_neon(x[2], x[3], n);
    return vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), n.min), n.max);
}

/* The first n of eight values, 1 <= n <= 8. */
static inline void eb_store_neon(int8_t *to, int8x8_t x, int32_t n)
{
    if (n == 8) {
        vst1_s8(to, x);
    } else {
        int8_t all[8];
        vst1_s8(all, x);
        memcpy(to, all, (size_t)n);
    }
}

/* The first n of sixteen values, all of them from n = 16 on. */
static inline void eb_store_16_neon(int8_t *to, int8x16_t x, int32_t n)
{
    if (n >= 16) {
        vst1q_s8(to, x);
    } else {
        int8_t all[16];
        vst1q_s8(all, x);
        memcpy(to, all, (size_t)n);
    }
}

/* The first n of sixteen values and zeros, all of them from n = 16 on. */
static inline int8x16_t eb_load_16_neon(const int8_t *from, int32_t n)
{
    if (n >= 16) {
        return vld1q_s8(from);
    }
    int8_t all[16] = { 0 };
    memcpy(all, from, (size_t)n);
    return vld1q_s8(all);
}

#endif /* EB_NEON_H */
