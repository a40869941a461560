/* The DSP extension (Armv7E-M, Armv8-M with DSP) as the kernels use it, and the same in plain C for
 * every other core: what is laid out for the one runs on the other, with the same bytes.
 *
 * Inline assembly where compilers have no intrinsic or do not fold a rotation into SXTB16. */
#ifndef EB_DSP_H
#define EB_DSP_H

#include <stdint.h>
#include <string.h>

/* Four bytes at any address; the cores with DSP load unaligned words. */
static inline uint32_t eb_load4(const int8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void eb_store4(int8_t *p, uint32_t x) { memcpy(p, &x, sizeof x); }

/* Four bytes of one value. */
static inline uint32_t eb_four_bytes(int32_t x)
{
    return ((uint32_t)x & 0xFFU) * UINT32_C(0x01010101);
}

typedef struct {
    uint32_t first, second;
} eb_pair;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* Bytes 0 and 2 of x, sign-extended to a pair of halfwords. */
static inline uint32_t eb_even_bytes(uint32_t x)
{
    uint32_t r;
    __asm("sxtb16 %0, %1" : "=r"(r) : "r"(x));
    return r;
}

/* Bytes 1 and 3 of x, sign-extended to a pair of halfwords. */
static inline uint32_t eb_odd_bytes(uint32_t x)
{
    uint32_t r;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(x));
    return r;
}

/* Halfwords of acc plus bytes 0 and 2 of x. */
static inline uint32_t eb_add_even_bytes(uint32_t acc, uint32_t x)
{
    uint32_t r;
    __asm("sxtab16 %0, %1, %2" : "=r"(r) : "r"(acc), "r"(x));
    return r;
}

/* Halfwords of acc plus bytes 1 and 3 of x. */
static inline uint32_t eb_add_odd_bytes(uint32_t acc, uint32_t x)
{
    uint32_t r;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(r) : "r"(acc), "r"(x));
    return r;
}

/* acc + a.low * b.low + a.high * b.high on halfwords. */
static inline int32_t eb_smlad(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t r;
    __asm("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* acc + a.low * b.low. */
static inline int32_t eb_smlabb(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t r;
    __asm("smlabb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* acc + a.high * b.high. */
static inline int32_t eb_smlatt(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t r;
    __asm("smlatt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* acc + a.low * b.high. */
static inline int32_t eb_smlabt(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t r;
    __asm("smlabt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* acc + a.high * b.low. */
static inline int32_t eb_smlatb(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t r;
    __asm("smlatb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* (a * b + 2^31) >> 32. */
static inline int32_t eb_smmulr(int32_t a, int32_t b)
{
    int32_t r;
    __asm("smmulr %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* acc + (a * b >> 32). */
static inline int32_t eb_smmla(int32_t a, int32_t b, int32_t acc)
{
    int32_t r;
    __asm("smmla %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

/* Sums of the halfwords of a and b. */
static inline uint32_t eb_add_halves(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("sadd16 %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* Their differences. */
static inline uint32_t eb_sub_halves(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("ssub16 %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* Both halfwords of x, doubled. */
static inline uint32_t eb_double_halves(uint32_t x)
{
    uint32_t r;
    __asm("sadd16 %0, %1, %1" : "=r"(r) : "r"(x));
    return r;
}

/* The next two words at *p, which advances: compilers seldom make one instruction of it. */
static inline eb_pair eb_next_pair(const uint32_t **p)
{
    eb_pair r;
    __asm("ldrd %0, %1, [%2], #8" : "=r"(r.first), "=r"(r.second), "+r"(*p) : : "memory");
    return r;
}

/* The low halfwords of a and b. */
static inline uint32_t eb_lows(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* The high halfwords of a and b. */
static inline uint32_t eb_highs(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("pkhtb %0, %2, %1, asr #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* The larger of each pair of signed bytes. */
static inline uint32_t eb_max_bytes(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
    return r;
}

/* The smaller of each pair of signed bytes. */
static inline uint32_t eb_min_bytes(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm("ssub8 %0, %2, %1\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
    return r;
}

/* x saturated to -128..127. */
static inline int32_t eb_ssat8(int32_t x)
{
    int32_t r;
    __asm("ssat %0, #8, %1" : "=r"(r) : "r"(x));
    return r;
}

#else

static inline int32_t eb_low(uint32_t x) { return (int16_t)(uint16_t)x; }

static inline int32_t eb_high(uint32_t x) { return (int16_t)(uint16_t)(x >> 16); }

/* Two halfwords, of which the upper bits do not count. */
static inline uint32_t eb_halves(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xFFFFU) | (uint32_t)high << 16;
}

static inline int32_t eb_byte(uint32_t x, int32_t at) { return (int8_t)(uint8_t)(x >> 8 * at); }

static inline uint32_t eb_even_bytes(uint32_t x) { return eb_halves(eb_byte(x, 0), eb_byte(x, 2)); }

static inline uint32_t eb_odd_bytes(uint32_t x) { return eb_halves(eb_byte(x, 1), eb_byte(x, 3)); }

static inline uint32_t eb_add_even_bytes(uint32_t acc, uint32_t x)
{
    return eb_halves(eb_low(acc) + eb_byte(x, 0), eb_high(acc) + eb_byte(x, 2));
}

static inline uint32_t eb_add_odd_bytes(uint32_t acc, uint32_t x)
{
    return eb_halves(eb_low(acc) + eb_byte(x, 1), eb_high(acc) + eb_byte(x, 3));
}

/* Sums wrap around, as the instructions' do. */
static inline int32_t eb_wrapped(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t eb_smlabb(uint32_t a, uint32_t b, int32_t acc)
{
    return eb_wrapped(acc, eb_low(a) * eb_low(b));
}

static inline int32_t eb_smlatt(uint32_t a, uint32_t b, int32_t acc)
{
    return eb_wrapped(acc, eb_high(a) * eb_high(b));
}

static inline int32_t eb_smlabt(uint32_t a, uint32_t b, int32_t acc)
{
    return eb_wrapped(acc, eb_low(a) * eb_high(b));
}

static inline int32_t eb_smlatb(uint32_t a, uint32_t b, int32_t acc)
{
    return eb_wrapped(acc, eb_high(a) * eb_low(b));
}

static inline int32_t eb_smlad(uint32_t a, uint32_t b, int32_t acc)
{
    return eb_smlatt(a, b, eb_smlabb(a, b, acc));
}

static inline int32_t eb_smmulr(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

static inline int32_t eb_smmla(int32_t a, int32_t b, int32_t acc)
{
    return eb_wrapped(acc, (int32_t)((int64_t)a * b >> 32));
}

static inline uint32_t eb_add_halves(uint32_t a, uint32_t b)
{
    const uint32_t signs = UINT32_C(0x80008000);
    return ((a & ~signs) + (b & ~signs)) ^ ((a ^ b) & signs);
}

static inline uint32_t eb_sub_halves(uint32_t a, uint32_t b)
{
    const uint32_t signs = UINT32_C(0x80008000);
    return ((a | signs) - (b & ~signs)) ^ (~(a ^ b) & signs);
}

static inline uint32_t eb_double_halves(uint32_t x)
{
    return eb_halves(2 * eb_low(x), 2 * eb_high(x));
}

static inline eb_pair eb_next_pair(const uint32_t **p)
{
    const eb_pair r = { (*p)[0], (*p)[1] };
    *p += 2;
    return r;
}

static inline uint32_t eb_lows(uint32_t a, uint32_t b)
{
    return eb_halves(eb_low(a), eb_low(b));
}

static inline uint32_t eb_highs(uint32_t a, uint32_t b)
{
    return eb_halves(eb_high(a), eb_high(b));
}

static inline uint32_t eb_max_bytes(uint32_t a, uint32_t b)
{
    uint32_t r = 0;
    for (int32_t i = 0; i < 4; i++) {
        const int32_t larger = eb_byte(a, i) > eb_byte(b, i) ? eb_byte(a, i) : eb_byte(b, i);
        r |= ((uint32_t)larger & 0xFFU) << 8 * i;
    }
    return r;
}

static inline uint32_t eb_min_bytes(uint32_t a, uint32_t b)
{
    return ~eb_max_bytes(~a, ~b);
}

static inline int32_t eb_ssat8(int32_t x) { return x < -128 ? -128 : x > 127 ? 127 : x; }

#endif

#endif /* EB_DSP_H */
