/* The last step of convolutions and fully connected layers on cores with the DSP extension. */
#ifndef EB_CHANNEL_DSP_H
#define EB_CHANNEL_DSP_H

#include "common/eb_channel.h"
#include "common/eb_dsp.h"

/* As eb_finish, for |acc| < 2^30, shift < 0 and the whole range of int8: both roundings are then
 * exact in a few instructions.
 *
 * SMMULR of 2 acc is eb_doubling_high_mul. Adding the sign makes the halves of the division that
 * follows round away from zero; its last bit is shifted out together with adding the offset. */
static inline int8_t eb_finish_small(int32_t acc, const eb_channel *c, int32_t offset)
{
    const int32_t high = eb_smmulr((int32_t)((uint32_t)acc << 1), c->multiplier);
    const int32_t shifted = (high + (high >> 31)) >> (-1 - c->shift);
    return (int8_t)eb_ssat8(offset + ((shifted + 1) >> 1));
}

/* eb_finish, or eb_finish_small where `small` (a constant where this is inlined) allows it. */
static inline int8_t eb_finish_dsp(int32_t acc, const eb_channel *c, const eb_output_stage *out,
                                   int small)
{
    return small ? eb_finish_small(acc, c, out->offset) : eb_finish(acc, c, out);
}

#endif /* EB_CHANNEL_DSP_H */
