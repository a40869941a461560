#include "quantize.h"

#include "../common/eb_math.h"

/* Nearest integer, halves away from zero; saturates far outside of any quantized range. */
static int32_t round_away(float x)
{
    const float limit = 16777216.0f; /* 2^24: beyond, every float is an integer */
    if (!(x > -limit)) {
        return x <= -limit ? -(INT32_C(1) << 24) : 0;
    }
    if (x >= limit) {
        return INT32_C(1) << 24;
    }
    const int32_t whole = (int32_t)x; /* towards zero */
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
}

void eb_quantize_f32_s8(const eb_quantize_params *p, const float *input, int8_t *output)
{
    for (int32_t i = 0; i < p->count; i++) {
        const int32_t q = round_away(input[i] / p->scale) + p->zero_point;
        output[i] = (int8_t)eb_clamp_i32(q, INT8_MIN, INT8_MAX);
    }
}
