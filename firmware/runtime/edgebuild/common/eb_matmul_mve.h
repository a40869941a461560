/* Pixels times weights with Helium: what CONV_2D and FULLY_CONNECTED do most of their time. */
#ifndef EB_MATMUL_MVE_H
#define EB_MATMUL_MVE_H

#include "eb_mve.h"

/* Output channels whose sums are in memory at once, as int32. */
#define EB_SUMS_CHANNELS 64

/* Weights: for each pair of channels and each 16 bytes of depth, 16 bytes of the first and 16 of the
 * second. Zeros fill depth and channels. */
typedef struct {
    int32_t depth; /* bytes of a pixel */
    int32_t out_c;
    int32_t floors; /* 1: the output's zero point is -128, to which negative values saturate */
    const int8_t *weights;
    const int32_t *bias;   /* with the input's zero point folded in, see eb_channel */
    const int32_t *scales; /* eb_scales_mve, one for each 8 channels */
    eb_output_stage output;
} eb_matmul_mve_params;

/* Bytes of the weights of a pair of channels. */
static inline int32_t eb_pair_bytes(const eb_matmul_mve_params *p)
{
    return (p->depth + 15) / 16 * 32;
}

/* All output channels of `pixels` pixels, `step` bytes apart; their outputs lie together.
 * sums: 3 * EB_SUMS_CHANNELS values. */
void eb_matmul_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t step, int32_t pixels,
                   int32_t *sums, int8_t *out);

/* The same for a single pixel; channels are filled up to a multiple of 4. */
void eb_matmul_one_mve(const eb_matmul_mve_params *p, const int8_t *x, int32_t *sums, int8_t *out);

#endif /* EB_MATMUL_MVE_H */
