/* DEPTHWISE_CONV_2D on AArch64, int8 in, weights and out; NHWC, one filter for each channel. */
#ifndef EB_DEPTHWISE_CONV2D_NEON_H
#define EB_DEPTHWISE_CONV2D_NEON_H

#include "../common/eb_channel.h"
#include "../common/eb_rows_neon.h"

typedef struct {
    int32_t batches, out_h, out_w;
    int32_t kernel_w, stride_w, dilation_w;
    int32_t plain;  /* 1: no channel is shifted left, all are shifted right */
    int32_t lowest; /* 1: a weight is -128, so that the sum of two products may not fit 16 bits */
    eb_rows_params rows;
    const int8_t *weights;   /* [kernel_h][kernel_w][in_c, rounded up to 16] */
    const int32_t *channels; /* eb_channels_neon, two for each 16 channels */
    eb_output_stage output;
} eb_depthwise_conv2d_neon_params;

/* Reads 16 channels at a time, also behind the last.
 * scratch: pointers to the taps, 8 bytes each, rounded up to 16 bytes; then what eb_rows_start
 * takes. */
void eb_depthwise_conv2d_s8_neon(const eb_depthwise_conv2d_neon_params *p, const int8_t *input,
                                 int8_t *output, void *scratch);

#endif /* EB_DEPTHWISE_CONV2D_NEON_H */
