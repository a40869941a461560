/* CONV_2D of a 3x3 kernel with stride 1 on AArch64, by Winograd's F(4x4, 3x3) where the CPU has no
 * instruction for dot products: 36 products for 16 outputs in place of 144.
 *
 * Lavin and Gray 2016, with the weights' transform times 24 in each direction: all is in integers.
 * Sums are 576 times the accumulator modulo 2^32; times the inverse of 9 they are 64 times it,
 * exactly where it is below 2^25 in magnitude, its bias left out. */
#ifndef EB_CONV2D_WINOGRAD_NEON_H
#define EB_CONV2D_WINOGRAD_NEON_H

#include "conv2d_neon.h"

/* Tiles of 4x4 outputs that are computed together, and points of the transform of each. */
#define EB_WINOGRAD_TILES 4
#define EB_WINOGRAD_POINTS 36

typedef struct {
    eb_conv2d_neon_params direct;
    eb_rows_params rows;    /* six for four output rows */
    int32_t depth;          /* in_c, filled up to eights */
    int32_t block;          /* tiles for one reading of the weights, a multiple of four */
    const int16_t *weights; /* transformed: for each 16 output channels [points][depth][16], for the
                             * last eight or fewer [points][depth][8]; zeros fill */
} eb_conv2d_winograd_neon_params;

/* scratch: what eb_conv2d_s8_neon takes, or points * (256 + 2 * depth * block) bytes and what
 * eb_rows_start takes, whichever is more. */
void eb_conv2d_s8_winograd_neon(const eb_conv2d_winograd_neon_params *p, const int8_t *input,
                                int8_t *output, void *scratch);

#endif /* EB_CONV2D_WINOGRAD_NEON_H */
