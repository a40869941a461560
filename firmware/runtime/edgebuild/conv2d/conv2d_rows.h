/* CONV_2D over few input channels, int8; NHWC, no groups, no dilation. */
#ifndef EB_CONV2D_ROWS_H
#define EB_CONV2D_ROWS_H

#include <stdint.h>

#include "../common/eb_channel.h"

typedef struct {
    int32_t batches;
    int32_t in_h, line; /* line: in_w * in_c, the bytes of an input row */
    int32_t out_h, out_w, out_c;
    int32_t kernel_h, stride_h, pad_top;
    int32_t lead;    /* pad_left * in_c */
    int32_t step;    /* stride_w * in_c */
    int32_t values;  /* of a row of the image, as far as kernels reach */
    int32_t words;   /* of two values each: a kernel's run, rounded up */
    int32_t reserve; /* halfwords behind the rows */
    int32_t second;  /* halfwords of scratch before the second copy of the rows; 0: there is none */
    int32_t kept;    /* halfwords of scratch before the run that is kept */
    int32_t pad;     /* input zero point: what lies outside the image */
    int32_t clamp;   /* 1: the activation's range is not all of int8 */
    const int32_t *weights;
    eb_output_stage output;
} eb_conv2d_rows_params;

/* weights: see conv2d_rows_s8_dsp.c. scratch: `kept` halfwords, and words for a run where there are
 * several rows of an odd number of pixels. */
void eb_conv2d_rows_s8_dsp(const eb_conv2d_rows_params *p, const int8_t *input, int8_t *output,
                           void *scratch);

#endif /* EB_CONV2D_ROWS_H */
