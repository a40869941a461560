/* Fixed-point arithmetic of TFLite Micro (gemmlowp's double rounding), bit for bit.
 *
 * Header only; no state. Twin of edgebuild/ops/fixed_point.py. */
#ifndef EB_MATH_H
#define EB_MATH_H

#include <stdint.h>
#include <string.h>

/* Portable C needs an arithmetic right shift of negative values; every compiler we target has it. */
_Static_assert((-1 >> 1) == -1, "edgebuild kernels need an arithmetic right shift");

static inline int32_t eb_min_i32(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t eb_max_i32(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t eb_clamp_i32(int32_t x, int32_t low, int32_t high)
{
    return eb_min_i32(eb_max_i32(x, low), high);
}

/* High half of 2ab, rounded to nearest; a and b are not both INT32_MIN. */
static inline int32_t eb_doubling_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * (int64_t)b + (INT64_C(1) << 30)) >> 31);
}

/* x / 2^exponent, halves rounded away from zero; 0 <= exponent <= 31. */
static inline int32_t eb_rounding_divide_by_pot(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1U);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* x * multiplier * 2^(-31 - right), rounded twice; 1 <= right <= 31. */
static inline int32_t eb_scale_down(int32_t x, int32_t multiplier, int32_t right)
{
#if defined(__thumb2__)
    /* What a shift moves out last is the half that rounds up; a negative high half is one less
     * before, so that its halves go down. */
    int32_t low;
    __asm("smull %0, %1, %1, %2\n\tadds %0, %0, %0\n\tadcs %1, %1, %1\n\tadds %0, %0, %0\n\t"
          "adc %1, %1, %1, asr #31\n\tasrs %1, %1, %3\n\tadc %1, %1, #0"
          : "=&r"(low), "+&r"(x)
          : "r"(multiplier), "r"(right)
          : "cc");
    return x;
#else
    return eb_rounding_divide_by_pot(eb_doubling_high_mul(x, multiplier), right);
#endif
}

/* x * multiplier * 2^(shift - 31), rounded twice; shift in [-31, 30], positive to the left.
 * The left shift wraps as unsigned arithmetic does. */
static inline int32_t eb_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    if (shift < 0) {
        return eb_scale_down(x, multiplier, -shift);
    }
    return eb_doubling_high_mul((int32_t)((uint32_t)x << shift), multiplier);
}

#endif /* EB_MATH_H */
