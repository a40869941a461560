/* DEPTHWISE_CONV_2D, int8 in, int8 weights, int8 out; NHWC. */
#ifndef EB_DEPTHWISE_CONV2D_H
#define EB_DEPTHWISE_CONV2D_H

#include <stdint.h>

#include "../common/eb_channel.h"

typedef struct {
    const int8_t *weights;   /* DSP: NULL */
    const int32_t *channels; /* for each output channel, see the kernels */
    uint16_t batches;
    uint16_t in_h, in_w, in_c;
    uint16_t out_h, out_w;
    uint16_t multiplier; /* output channels for each input channel */
    uint16_t kernel_h, kernel_w;
    uint16_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int8_t pad;    /* input zero point: what lies outside the image */
    uint8_t clamp; /* 1: the activation's range is not all of int8 */
    uint8_t once;  /* 1: one rounding is exact */
    eb_output_stage output;
} eb_depthwise_conv2d_params;

/* weights: see depthwise_conv2d_s8.c; channels: eb_channel, or eb_channel_once with `once`, in the
 * order of the weights.
 * scratch: four pointers for each tap, and in_c bytes. */
void eb_depthwise_conv2d_s8(const eb_depthwise_conv2d_params *p, const int8_t *input,
                            int8_t *output, void *scratch);

/* Only for multiplier 1, four channels or more, two taps or more. channels: the stream, see
 * depthwise_conv2d_s8_dsp.c. scratch: a pointer for each tap, and in_c bytes. */
void eb_depthwise_conv2d_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output, void *scratch);

typedef struct {
    const int32_t *channels;
    int32_t columns; /* of the input that an output row reads, padding included */
    uint16_t batches;
    uint16_t in_h, in_w, in_c;
    uint16_t out_h, out_w;
    uint16_t stride, pad_top, pad_left;
    int8_t pad;    /* input zero point: what lies outside the image */
    uint8_t clamp; /* 1: the activation's range is not all of int8 */
    uint8_t once;  /* 1: channels round once, see single_rounding.py */
    eb_output_stage output;
} eb_depthwise_conv2d_3x3_params;

/* Kernels of 3x3 without dilation, strides of (1, 1) or (2, 2), multiplier 1, four channels or
 * more, at least one output. channels: for each 256 * bias (plus the fraction, if `once`),
 * multiplier, (if not, eb_channel_dsp's round, right), and for each kernel column the bytes (w1,
 * w0, w2, w1) of its rows 0 to 2. scratch: 48 * max(columns, stride + 3) + 32 * (ceil(out_h *
 * stride / 4) - 1) bytes. */
void eb_depthwise_conv2d_3x3_s8_dsp(const eb_depthwise_conv2d_3x3_params *p, const int8_t *input,
                                    int8_t *output, void *scratch);

#endif /* EB_DEPTHWISE_CONV2D_H */
