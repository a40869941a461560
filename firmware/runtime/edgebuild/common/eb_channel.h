/* Per-channel parameters of convolutions and fully connected layers, and their last step. */
#ifndef EB_CHANNEL_H
#define EB_CHANNEL_H

#include <stdint.h>

#include "eb_math.h"

/* The input's zero point is folded into the bias: bias - zero_point * sum(weights). */
typedef struct {
    int32_t bias;
    int32_t multiplier;
    int32_t shift; /* positive to the left, as eb_requantize takes it */
} eb_channel;

/* The same where one rounding is exact, see single_rounding.py; for an output zero point of -128. */
typedef struct {
    int32_t start; /* 256 * bias + fraction; what the products add may bring it back to 32 bits */
    int32_t multiplier;
} eb_channel_once;

/* What follows requantization: + offset, then the fused activation's range. */
typedef struct {
    int8_t offset;
    int8_t min;
    int8_t max;
} eb_output_stage;

static inline int8_t eb_finish(int32_t acc, const eb_channel *c, const eb_output_stage *out)
{
    const int32_t x = eb_requantize(acc, c->multiplier, c->shift) + out->offset;
    return (int8_t)eb_clamp_i32(x, out->min, out->max);
}

/* The output in one rounding for a sum of products, without the bias. */
static inline int8_t eb_finish_once(int32_t products, const eb_channel_once *c)
{
    const int32_t s = (int32_t)((uint32_t)c->start + ((uint32_t)products << 8));
    const int32_t x = (eb_high_mul(s, c->multiplier) - (128 << 10)) >> 10;
    return (int8_t)eb_clamp_i32(x, INT8_MIN, INT8_MAX);
}

/* The fused activation of a whole layer, for the few whose range is less than all of int8. */
static inline void eb_clamp_all(int8_t *x, int32_t n, const eb_output_stage *out)
{
    for (; n > 0; n--, x++) {
        *x = (int8_t)eb_clamp_i32(*x, out->min, out->max);
    }
}

#endif /* EB_CHANNEL_H */
