/* Pixels times weights: what CONV_2D and FULLY_CONNECTED do most of their time. */
#ifndef EB_MATMUL_NEON_H
#define EB_MATMUL_NEON_H

#include <stddef.h>
#include <stdint.h>

#include "eb_channel.h"

/* A pixel's dot product is over `runs` runs of `blocks` times 8 bytes.
 *
 * Weights: for each 8 channels, each run and each block, 64 bytes: 8 bytes of the depth of the
 * first channel, then of the second, ... SMMLA, SDOT and SMULL all read 16 of them, two channels,
 * at once. Zeros fill runs and channels. */
typedef struct {
    int32_t runs, blocks;
    int32_t out_c;
    int32_t plain; /* 1: no channel is shifted left, all are shifted right */
    int32_t lowest; /* 1: a weight is -128, so that the sum of two products may not fit 16 bits */
    const int8_t *weights;
    const int32_t *channels; /* eb_channels_neon, one for each 8 channels */
    eb_output_stage output;
} eb_matmul_params;

/* All output channels of `pixels` pixels. The runs of pixel i start at rows[run] + i * stride; up
 * to a multiple of 8 bytes are read. Outputs of a pixel lie together, out_stride from pixel to pixel.
 * `group` selects a set of weights and channels. */
void eb_matmul_neon(const eb_matmul_params *p, int32_t group, const int8_t *const *rows,
                    int32_t stride, int32_t pixels, int8_t *out, int32_t out_stride);

#endif /* EB_MATMUL_NEON_H */
