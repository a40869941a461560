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

#if defined(__ARM_ARCH_6M__)

/* High half of ab, and of the low half the upper bits: there is no long multiplication. */
static inline int32_t eb_long_mul(int32_t a, int32_t b, uint32_t *upper_bits)
{
    const int32_t a1 = a >> 16, a0 = a & 0xFFFF, b1 = b >> 16, b0 = b & 0xFFFF;
    const int32_t first = a1 * b0, second = a0 * b1;
    const uint32_t low = ((uint32_t)first & 0xFFFFU) + ((uint32_t)second & 0xFFFFU) +
                         ((uint32_t)a0 * (uint32_t)b0 >> 16);
    *upper_bits = low & 0xFFFFU;
    return a1 * b1 + (first >> 16) + (second >> 16) + (int32_t)(low >> 16);
}

#endif

/* High half of ab. */
static inline int32_t eb_high_mul(int32_t a, int32_t b)
{
#if defined(__ARM_ARCH_6M__)
    uint32_t bits;
    return eb_long_mul(a, b, &bits);
#else
    return (int32_t)((int64_t)a * b >> 32);
#endif
}

/* High half of 2ab, rounded to nearest; a and b are not both INT32_MIN. */
static inline int32_t eb_doubling_high_mul(int32_t a, int32_t b)
{
#if defined(__ARM_ARCH_6M__)
    uint32_t bits;
    const uint32_t high = (uint32_t)eb_long_mul(a, b, &bits);
    return (int32_t)((high << 1) + (((bits >> 14) + 1U) >> 1));
#else
    return (int32_t)(((int64_t)a * (int64_t)b + (INT64_C(1) << 30)) >> 31);
#endif
}

/* x / 2^exponent, halves rounded away from zero; 0 <= exponent <= 31. */
static inline int32_t eb_rounding_divide_by_pot(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1U);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* x * multiplier * 2^(-31 - right), rounded twice; 1 <= right <= 31. A negative high half is one less
 * before the shift, so that its halves go down, and what is shifted out last rounds up. */
static inline int32_t eb_scale_down(int32_t x, int32_t multiplier, int32_t right)
{
#if defined(__thumb2__)
    int32_t low;
    __asm("smull %0, %1, %1, %2\n\tadds %0, %0, %0\n\tadcs %1, %1, %1\n\tadds %0, %0, %0\n\t"
          "adc %1, %1, %1, asr #31\n\tasrs %1, %1, %3\n\tadc %1, %1, #0"
          : "=&r"(low), "+&r"(x)
          : "r"(multiplier), "r"(right)
          : "cc");
    return x;
#else
    const int32_t high = eb_doubling_high_mul(x, multiplier);
    const int32_t less = high + (high >> 31);
    return (less >> right) + (less >> (right - 1) & 1);
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
