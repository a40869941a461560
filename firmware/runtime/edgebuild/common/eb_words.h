/* Two products by one multiplication of 32 bits, for cores without a SIMD extension.
 *
 * A word of two values times a word of two weights, x0 + x1 * 2^16 and w1 + w0 * 2^16, is
 * x0 * w1 + (x0 * w0 + x1 * w1) * 2^16. The second sum is the product's upper half, one more where the
 * lower half is negative: with x1 an input plus one, -127 to 128, both sums fit 16 bits for all x0 and
 * weights of int8. Weights lie in memory plus 128, four to a word, for the values 2, 3, 0 and 1: a
 * mask and a subtraction make words of weights of bytes 0 and 2, and of bytes 1 and 3. */
#ifndef EB_WORDS_H
#define EB_WORDS_H

#include "eb_channel.h"

/* The word of two inputs, the second of them plus one. */
static inline uint32_t eb_values(int8_t x0, int8_t x1)
{
    return UINT32_C(0x10000) + (uint32_t)x0 + ((uint32_t)x1 << 16);
}

/* Weights for the values 0 and 2. */
static inline uint32_t eb_even_weights(uint32_t w)
{
    return (w & UINT32_C(0x00FF00FF)) - UINT32_C(0x00800080);
}

/* Weights for the values 1 and 3. */
static inline uint32_t eb_odd_weights(uint32_t w) { return eb_even_weights(w >> 8); }

/* sum + x0 * w0 + x1 * w1. */
static inline int32_t eb_add_two(int32_t sum, uint32_t values, uint32_t weights)
{
    return sum + ((int32_t)(values * weights + UINT32_C(0x8000)) >> 16);
}

/* The output of a channel without a fused activation's range. */
static inline int8_t eb_saturate(int32_t sum, const eb_channel *c, int32_t offset)
{
    const int32_t x = eb_requantize(sum, c->multiplier, c->shift);
    return (int8_t)(eb_clamp_i32(x, -128 - offset, 127 - offset) + offset);
}

/* Stands for the zero point, -128, where channels are eb_channel_once. */
#define EB_ONCE_OFFSET (-128 * (1 << 8))

static inline int32_t eb_offset(const eb_output_stage *out, int32_t once)
{
    return out->offset * (1 << 8 * once);
}

/* A channel, of either kind: what the sum of its products starts from, its output, and the next one. */
static inline int32_t eb_start(const void *channel, int32_t offset)
{
    return offset == EB_ONCE_OFFSET ? 0 : ((const eb_channel *)channel)->bias;
}

static inline int8_t eb_output(int32_t sum, const void *channel, int32_t offset)
{
    return offset == EB_ONCE_OFFSET ? eb_finish_once(sum, (const eb_channel_once *)channel)
                                    : eb_saturate(sum, (const eb_channel *)channel, offset);
}

static inline const void *eb_next_channels(const void *channel, int32_t n, int32_t offset)
{
    return offset == EB_ONCE_OFFSET ? (const void *)((const eb_channel_once *)channel + n)
                                    : (const void *)((const eb_channel *)channel + n);
}

/* eb_add_two in assembly; t is lost. */
#define EB_ADD_TWO(sum, values, weights, t)                                                        \
    "mul " t ", " values ", " weights "\n asrs " t ", " t ", #16\n adcs " sum ", " sum ", " t "\n"

#define EB_EVEN_WEIGHTS(to, w) "and " to ", " w ", #0x00ff00ff\n sub " to ", " to ", #0x00800080\n"

/* In place, with 0x00ff00ff in a register. */
#define EB_ODD_WEIGHTS(w, mask)                                                                    \
    "and " w ", " mask ", " w ", lsr #8\n sub " w ", " w ", #0x00800080\n"

/* A sum through eb_scale_down with a right shift, plus the zero point `offset`; t is lost. */
#define EB_SCALE_DOWN(sum, multiplier, right, offset, t)                                           \
    "smull " t ", " sum ", " sum ", " multiplier "\n adds " t ", " t ", " t "\n"                   \
    "adcs " sum ", " sum ", " sum "\n adds " t ", " t ", " t "\n"                                  \
    "adc " sum ", " sum ", " sum ", asr #31\n asrs " sum ", " sum ", " right "\n"                  \
    "adc " sum ", " sum ", " offset "\n"

/* The same with a left shift, or none. */
#define EB_SCALE_UP(sum, multiplier, left, offset, t)                                              \
    "lsl " sum ", " sum ", " left "\n smull " t ", " sum ", " sum ", " multiplier "\n"             \
    "adds " t ", " t ", " t "\n adcs " sum ", " sum ", " sum "\n adds " t ", " t ", " t "\n"       \
    "adc " sum ", " sum ", #0\n ssat " sum ", #16, " sum "\n add " sum ", " offset "\n"

/* A sum of products through eb_finish_once, but for its clamp: with its start, then scaled. */
#define EB_FROM(s, start) "add " s ", " start ", " s ", lsl #8\n"
#define EB_SCALE_ONCE(s, multiplier, t)                                                            \
    "smull " t ", " s ", " s ", " multiplier "\n sub " s ", #0x20000\n asr " s ", #10\n"

/* Parameters of a naked function are in r0 to r3, which C does not see. */
#define EB_NAKED __attribute__((naked, noinline)) static
#define EB_IN __attribute__((unused))

#endif /* EB_WORDS_H */
