/* im2col for a row of output pixels: every byte under their kernels once for each row of the kernel.
 *
 * A strip is a sequence of columns, each of them the kernel_h pixels of the input that lie under one
 * column of the kernel, from top to bottom. What a pixel's kernel covers is a run of kernel_w such
 * columns. Neighbouring pixels share columns where kernels overlap without dilation; elsewhere each
 * has its own.
 *
 * With planes, a strip has its channels by eight: one such sequence for the first eight, then one for
 * the next, each of pixels of 8 bytes. What is beyond the last channel has any value. */
#ifndef EB_STRIP_MVE_H
#define EB_STRIP_MVE_H

#include <stdint.h>

typedef struct {
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t pad;          /* input zero point: what lies outside the image */
    int32_t shared;       /* 1: neighbouring pixels share columns */
    int32_t lanes;        /* columns of one kernel that are made one by one: 1, or kernel_w */
    int32_t pixels;       /* output pixels of a strip, at most */
    int32_t whole;        /* 1: that is a whole row */
    int32_t first;        /* columns of the first pixel for each lane, */
    int32_t further;      /* and of each further one */
    int32_t plane;        /* bytes of a sequence of eight channels, or 0: all are in one */
    int32_t pixel_bytes;  /* in_c, or 8 */
    int32_t column_bytes; /* kernel_h * pixel_bytes */
    int32_t step;         /* bytes from pixel to pixel */
    int32_t together;     /* columns of less than 16 channels that are copied at once, or 1 */
    const uint8_t *spread; /* for these: where each of 16 bytes goes */
} eb_strip_mve;

/* The strip of the output pixels (y, x) to (y, x + n - 1); `image` is one batch. Strips of whole rows
 * are made from y = 0 on, one over the other. */
void eb_fill_strip_mve(const eb_strip_mve *s, const int8_t *image, int32_t y, int32_t x, int32_t n,
                       int8_t *strip);

#endif /* EB_STRIP_MVE_H */
