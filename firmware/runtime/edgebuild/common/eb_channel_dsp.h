/* Channels of layers with weights as the DSP kernels read them, and their last step. */
#ifndef EB_CHANNEL_DSP_H
#define EB_CHANNEL_DSP_H

#include "eb_channel.h"
#include "eb_dsp.h"

/* Only for channels whose |accumulator| is below 2^30 and whose right shift is 1 to 22. */
typedef struct {
    int32_t bias; /* with the input's zero point folded in, see eb_channel */
    int32_t multiplier;
    int32_t round; /* 2^(right - 1) + offset * 2^right: rounds, and adds the output's zero point */
    int32_t right;
} eb_channel_dsp;

/* The output for twice the accumulator, saturated to int8: both roundings of eb_requantize. */
static inline int8_t eb_scale_dsp(int32_t twice, eb_channel_dsp c)
{
    const int32_t high = eb_smmulr(twice, c.multiplier);
    return (int8_t)eb_ssat8((high + (high >> 31) + c.round) >> c.right);
}

/* The same in one rounding, see single_rounding.py: for 256 times the accumulator and a fraction. */
static inline int8_t eb_scale_once(int32_t s, int32_t multiplier)
{
    const int32_t high = (int32_t)((int64_t)s * multiplier >> 32);
    return (int8_t)eb_ssat8((high - (128 << 10)) >> 10);
}

/* The fused activation of a whole layer, for the few whose range is less than all of int8. */
static inline void eb_clamp_all_dsp(int8_t *x, int32_t n, const eb_output_stage *out)
{
    const uint32_t least = eb_four_bytes(out->min), most = eb_four_bytes(out->max);
    for (; n >= 4; n -= 4, x += 4) {
        eb_store4(x, eb_min_bytes(eb_max_bytes(eb_load4(x), least), most));
    }
    for (; n > 0; n--, x++) {
        *x = (int8_t)eb_clamp_i32(*x, out->min, out->max);
    }
}

static inline int32_t eb_twice(int32_t x) { return (int32_t)((uint32_t)x << 1); }

/* Weights come as pairs of channels, first + 256 * second in a halfword: SMLAD of the raw word sums
 * both at once, SXTB16 leaves the first. This is twice the sum of the second channel, from the sum of
 * both and that of the first; it is exact below 2^23. */
static inline int32_t eb_twice_second(int32_t both, int32_t first)
{
    return (int32_t)((uint32_t)both - (uint32_t)first) >> 7;
}

#endif /* EB_CHANNEL_DSP_H */
