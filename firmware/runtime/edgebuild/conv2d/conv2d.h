/* CONV_2D, int8 in, int8 weights, int8 out; NHWC. */
#ifndef EB_CONV2D_H
#define EB_CONV2D_H

#include <stdint.h>

#include "../common/eb_channel.h"

typedef struct {
    int32_t depth; /* kernel_h * kernel_w * kernel_c, the length of a dot product */
    const int8_t *weights;
    const int32_t *channels; /* for each output channel of each group, see the kernels */
    uint16_t batches;
    uint16_t in_h, in_w, in_c;
    uint16_t out_h, out_w, out_c; /* out_c: of one group */
    uint16_t kernel_h, kernel_w, kernel_c;
    uint16_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint16_t groups;
    int8_t pad;         /* input zero point: what lies outside the image */
    uint8_t contiguous; /* 1: a row of the kernel is a run of bytes (no groups, no dilation_w) */
    uint8_t pointwise;  /* 1: a 1x1 kernel that reads every pixel once, in order; not for _dsp */
    uint8_t once;       /* 1 where one rounding is exact */
    uint8_t clamp;      /* 1: the activation's range is not all of int8 */
    eb_output_stage output;
} eb_conv2d_params;

/* weights: see conv2d_s8.c; channels: eb_channel, or eb_channel_once with `once`, an even number for
 * each group, less the weights of the ones that eb_values adds.
 * scratch: 4 * depth bytes (depth rounded up to 4), and behind them depth bytes unless pointwise. */
void eb_conv2d_s8(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch);

/* channels: the stream of conv2d_pairs_dsp.c for each group. scratch: 4 * depth bytes (depth rounded
 * up to 4), and behind them 2 * depth + 3 bytes. */
void eb_conv2d_s8_dsp(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch);

typedef struct {
    const int32_t *stream; /* see the kernels */
    int32_t pixels;        /* of the output in a row */
    int32_t pixel_step, row_step, image_step; /* bytes of the input between what makes neighbours */
    uint16_t batches, rows;
    uint16_t in_c, out_c;
    uint8_t clamp; /* 1: the activation's range is not all of int8 */
    uint8_t once;  /* 1: one rounding is exact */
    eb_output_stage output;
} eb_conv2d_1x1_params;

/* A kernel of 1x1 without groups, in_c a multiple of 4. scratch: 4 * in_c bytes. */
void eb_conv2d_1x1_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input, int8_t *output,
                          void *scratch);

/* The same to one or two channels, in_c 4 or more, stream: see conv2d_1x1_narrow_s8_dsp.c. */
void eb_conv2d_1x1_narrow_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input,
                                 int8_t *output);

#endif /* EB_CONV2D_H */
