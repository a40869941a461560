/* Channels of layers with weights as the NEON kernels read them, and their last step. */
#ifndef EB_CHANNEL_NEON_H
#define EB_CHANNEL_NEON_H

#include "eb_channel.h"
#include "eb_neon.h"

/* Eight output channels; those beyond the last are zero. */
typedef struct {
    int32_t bias[8]; /* with the input's zero point folded in, see eb_channel */
    int32_t multiplier[8];
    int32_t left[8];
    int32_t right[8]; /* negative: a count for SRSHL */
} eb_channels_neon;

/* The same in registers. */
typedef struct {
    int32x4_t multiplier[2], left[2], right[2];
} eb_scales_neon;

static inline eb_scales_neon eb_load_scales(const eb_channels_neon *c)
{
    eb_scales_neon s;
    for (int i = 0; i < 2; i++) {
        s.multiplier[i] = vld1q_s32(c->multiplier + 4 * i);
        s.left[i] = vld1q_s32(c->left + 4 * i);
        s.right[i] = vld1q_s32(c->right + 4 * i);
    }
    return s;
}

/* Both roundings of eb_requantize; `plain`: no channel is shifted left, all are shifted right. */
static inline int32x4_t eb_scale_neon(int32x4_t acc, const eb_scales_neon *s, int half, int plain)
{
    if (plain) {
        const int32x4_t x = vqrdmulhq_s32(acc, s->multiplier[half]);
        return vrshlq_s32(vsraq_n_s32(x, x, 31), s->right[half]);
    }
    const int32x4_t x = vqrdmulhq_s32(vshlq_s32(acc, s->left[half]), s->multiplier[half]);
    return eb_divide_by_pot_neon(x, s->right[half]);
}

#endif /* EB_CHANNEL_NEON_H */
