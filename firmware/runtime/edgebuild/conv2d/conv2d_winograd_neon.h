/* CONV_2D of a 3x3 kernel with stride 1 on AArch64, by Winograd's F(2x2, 3x3) where the CPU has no
 * instruction for dot products: 16 products for four outputs in place of 36.
 *
 * Lavin and Gray 2016, with the weights' transform times 4: all is in integers, and exact. */
#ifndef EB_CONV2D_WINOGRAD_NEON_H
#define EB_CONV2D_WINOGRAD_NEON_H

#include "conv2d_neon.h"

/* Tiles of 2x2 outputs that are computed together, and points of the transform of each. */
#define EB_WINOGRAD_TILES 4
#define EB_WINOGRAD_POINTS 16

typedef struct {
    eb_conv2d_neon_params direct; /* with channels for each 16 outputs */
    eb_rows_params rows;          /* four for two output rows */
    const int16_t *weights;       /* [out_c / 16, rounded up][points][in_c][16], transformed */
} eb_conv2d_winograd_neon_params;

/* scratch: what eb_conv2d_s8_neon takes, or tiles * points * (2 * in_c + 64) bytes and what
 * eb_rows_start takes, whichever is more. */
void eb_conv2d_s8_winograd_neon(const eb_conv2d_winograd_neon_params *p, const int8_t *input,
                                int8_t *output, void *scratch);

#endif /* EB_CONV2D_WINOGRAD_NEON_H */
