/* The last step of convolutions and fully connected layers on cores with the DSP extension. */
#ifndef EB_CHANNEL_DSP_H
#define EB_CHANNEL_DSP_H

#include "common/eb_channel.h"
#include "common/eb_dsp.h"

/* As eb_finish; `small` says that every channel meets the limits of eb_requantize_small. */
static inline int8_t eb_finish_dsp(int32_t acc, const eb_channel *c, const eb_output_stage *out,
                                   int32_t small)
{
    if (!small) {
        return eb_finish(acc, c, out);
    }
    const int32_t x = eb_requantize_small(acc, c->multiplier, -c->shift) + out->offset;
    return (int8_t)eb_clamp_i32(x, out->min, out->max);
}

#endif /* EB_CHANNEL_DSP_H */
