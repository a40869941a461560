/* DEPTHWISE_CONV_2D with Helium, int8 in, int8 weights, int8 out; NHWC, one filter for each channel. */
#ifndef EB_DEPTHWISE_CONV2D_MVE_H
#define EB_DEPTHWISE_CONV2D_MVE_H

#include "../common/eb_mve.h"
#include "../common/eb_strip_mve.h"

/* Weights: for each 8 channels and each tap, the kernel's columns one after the other, 8 bytes.
 * Zeros fill the channels. */
typedef struct {
    int32_t batches, out_h, out_w;
    int32_t taps;
    int32_t floors; /* 1: the output's zero point is -128, to which negative values saturate */
    eb_strip_mve strip;
    const int8_t *weights;
    const int32_t *bias;   /* as eb_scales_mve orders them, with the input's zero point folded in */
    const int32_t *scales; /* eb_scales_mve, one for each 8 channels */
    eb_output_stage output;
} eb_depthwise_conv2d_mve_params;

/* scratch: a strip with planes. */
void eb_depthwise_conv2d_s8_mve(const eb_depthwise_conv2d_mve_params *p, const int8_t *input,
                                int8_t *output, void *scratch);

#endif /* EB_DEPTHWISE_CONV2D_MVE_H */
