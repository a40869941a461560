/* What the DSP kernels of CONV_2D share: pairs of pixels times all channels of a group. */
#ifndef EB_CONV2D_PAIRS_DSP_H
#define EB_CONV2D_PAIRS_DSP_H

#include <stdint.h>

/* Pairs of pixels at even distances; the assembly knows the order of the fields. */
typedef struct {
    uint32_t *columns; /* a multiple of 4 words: of one pixel and of the other in turn */
    uintptr_t limit;   /* address of their end, 1 less where one rounding is exact */
    int32_t entry;     /* see eb_pairs_entry */
    int8_t *out, *out_four; /* of the first pixel; out_four: 4 bytes before its end */
    int32_t out_distance;   /* from a pixel to the other; 0, as in_distance, where it is alone */
    const int8_t *in;       /* NULL for a single pair whose columns are there */
    int32_t pairs;
    int32_t in_distance, in_step; /* in_step: from pair to pair */
    int32_t out_step;             /* from the end of a pair's first pixel to the next pair */
    const uint32_t *stream;
    int32_t row, in_skip; /* a row of the kernel: bytes of columns, of input between two of them */
} eb_pixel_pairs;

/* Steps of two values of depth that the loop is unrolled to: with all that four channels take, it
 * fits a cache of 1 KB, as an STM32's flash has for code. */
#define EB_PAIRS_ROUND 11
#define EB_PAIRS_STEP_BYTES 56 /* of code: 14 instructions */

/* Bytes of the unrolled loop before the first step that runs; depth is a multiple of 4. */
static inline int32_t eb_pairs_entry(int32_t depth)
{
    return (EB_PAIRS_ROUND - 1 - (depth / 2 - 2) % EB_PAIRS_ROUND) * EB_PAIRS_STEP_BYTES;
}

void eb_conv2d_pairs_dsp(const eb_pixel_pairs *p);

#endif /* EB_CONV2D_PAIRS_DSP_H */
