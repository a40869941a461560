/* CONV_2D of 3x3 at stride 1 by Winograd's F(4x4, 3x3) with Helium, in exact integers.
 *
 * Points of the input and of the weights are int16, eight values of depth to a vector; the depth is
 * the input's channels, filled up to eights. Sums are 576 times too large, modulo 2^32. */
#ifndef EB_CONV2D_WINOGRAD_MVE_H
#define EB_CONV2D_WINOGRAD_MVE_H

#include "../common/eb_mve.h"

typedef struct {
    int32_t batches;
    int32_t in_h, in_w, in_c;
    int32_t out_h, out_w, out_c;
    int32_t pad_top, pad_left;
    int32_t pad;    /* input zero point: what lies outside the image */
    int32_t floors; /* 1: the output's zero point is -128, to which negative values saturate */
    int32_t block;  /* tiles that share an expansion of the weights; a multiple of 3 */
    const int8_t *weights; /* [out_c / 8][4][depth / 8][2][9][8]; channels of eight as eb_lane has
                              them, zeros fill */
    const int32_t *bias;   /* the same order, 576 times as large modulo 2^32 */
    const int32_t *scales; /* eb_scales_mve, one for each 8 channels */
    eb_output_stage output;
} eb_conv2d_winograd_mve_params;

/* Words for the sums of three tiles. */
#define EB_WINOGRAD_MVE_SUMS 864

/* scratch: the sums; 72 * depth bytes for each tile of a block, 576 * depth for the points of eight
 * output channels, and depth bytes. */
void eb_conv2d_s8_winograd_mve(const eb_conv2d_winograd_mve_params *p, const int8_t *input,
                               int8_t *output, void *scratch);

#endif /* EB_CONV2D_WINOGRAD_MVE_H */
