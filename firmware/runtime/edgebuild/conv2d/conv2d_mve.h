/* CONV_2D with Helium, int8 in, int8 weights, int8 out; NHWC, without groups. */
#ifndef EB_CONV2D_MVE_H
#define EB_CONV2D_MVE_H

#include "../common/eb_matmul_mve.h"
#include "../common/eb_strip_mve.h"

typedef struct {
    int32_t batches, out_h, out_w;
    int32_t pointwise; /* 1: a 1x1 kernel that reads every pixel once, in order */
    eb_strip_mve strip;
    eb_matmul_mve_params product; /* depth: columns of the kernel one after the other */
} eb_conv2d_mve_params;

/* scratch: 12 * EB_SUMS_CHANNELS bytes, then a strip unless pointwise. */
void eb_conv2d_s8_mve(const eb_conv2d_mve_params *p, const int8_t *input, int8_t *output,
                      void *scratch);

#endif /* EB_CONV2D_MVE_H */
