/* CONV_2D of 3x3 by Winograd's tiles in exact integers, laid out for the DSP extension.
 *
 * Outputs are made in two tiles, side by side. What lies under a tile becomes its points, a filter
 * becomes points too, and each point of the output is a sum of products over the depth: the input's
 * channels, filled up to fours, in the order 0, 2, 1, 3. */
#ifndef EB_CONV2D_WINOGRAD_DSP_H
#define EB_CONV2D_WINOGRAD_DSP_H

#include <stdint.h>

#include "../common/eb_channel_dsp.h"

typedef struct {
    int32_t batches;
    int32_t in_h, in_w, in_c;
    int32_t out_h, out_w, out_c;
    int32_t pad_top, pad_left;
    int32_t pad;   /* input zero point: what lies outside the image */
    int32_t clamp; /* 1: the activation's range is not all of int8 */
    int32_t block; /* pairs of tiles for one reading of the weights */
    int32_t part;  /* of the depth, for which weights are expanded at a time; all where not */
    const int8_t *weights;   /* see the kernels */
    const int32_t *channels; /* eb_channel_dsp, filled up to fours; the bias as the sums have it */
    eb_output_stage output;
} eb_conv2d_winograd_params;

/* Stores a tile of four output channels from their sums, which it may overwrite; `pixel` and `row`:
 * bytes from an output to the next. */
typedef void eb_winograd_finish(int32_t *m, const eb_channel_dsp *c, int8_t *out, int32_t pixel,
                                int32_t row);

/* How tiles are computed; sizes are in values, or points. */
typedef struct {
    int32_t tile, stride;  /* tile x tile outputs */
    int32_t height, width; /* of the image under two tiles */
    int32_t points;        /* of a tile, for each value of depth */
    int32_t work;          /* words for what is on the way: window and columns, or the sums */
    /* Four channels of the window at `from`, with bytes from one value to the next, to v [points]
     * [depth / 2][2 tiles], with words of two values of depth; t: words for columns. */
    void (*transform)(const int8_t *from, int32_t row, int32_t pixel, uint32_t *t, int32_t depth,
                      uint32_t *v);
    /* Weights of four output channels to w [points][depth / 2][4]; returns the next ones. NULL
     * where they are stored so. */
    const int8_t *(*expand)(const int8_t *weights, int32_t depth, uint32_t *w);
    /* All sums m of two tiles and four output channels; the second one adds to what is there. */
    void (*multiply[2])(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t depth);
    eb_winograd_finish *finish[2]; /* the second one for a zero point of -128 */
} eb_winograd_form;

/* scratch: for each pair of tiles of a block the form's work, then 4 * points bytes for each value
 * of depth; 8 * points bytes for each value of a part where weights are expanded. */
void eb_winograd(const eb_conv2d_winograd_params *p, const eb_winograd_form *form,
                 const int8_t *input, int8_t *output, void *scratch);

/* Sums m [points][2 tiles][4 channels] of products of v [points][words][2] and w [points][words]
 * [4]; they wrap around. words: even, at least 2. */
void eb_winograd_multiply(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                          int32_t words);

/* The same, added to m. */
void eb_winograd_multiply_more(const uint32_t *v, const uint32_t *w, int32_t *m, int32_t points,
                               int32_t words);

/* F(4x4, 3x3) at stride 1. weights: int16 [out_c / 4][36 points][depth / 2][4][2]. */
void eb_conv2d_s8_winograd_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                               int8_t *output, void *scratch);

/* The same, expanded on the way. weights: [out_c / 4][depth / 4][4][9][4], each four of the depth
 * in order. */
void eb_conv2d_s8_winograd_narrow_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                                      int8_t *output, void *scratch);

/* F(2x2, 2x2) at stride 2. weights: int16 [out_c / 4][25][depth / 2][4][2]. */
void eb_conv2d_s8_winograd_stride2_dsp(const eb_conv2d_winograd_params *p, const int8_t *input,
                                       int8_t *output, void *scratch);

#endif /* EB_CONV2D_WINOGRAD_DSP_H */
