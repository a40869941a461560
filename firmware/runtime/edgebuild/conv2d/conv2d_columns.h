/* im2col for one output pixel: the input bytes under the kernel, in the order of the weights. */
#ifndef EB_CONV2D_COLUMNS_H
#define EB_CONV2D_COLUMNS_H

#include "conv2d.h"

/* Copies the depth bytes of pixel (y, x) of `group` to `column`; `image` is one batch. */
static inline void eb_conv2d_column(const eb_conv2d_params *p, const int8_t *image, int32_t group,
                                    int32_t y, int32_t x, int8_t *column)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    const int32_t c = p->kernel_c;
    const int32_t run = p->kernel_w * c;
    const int inside = left >= 0 && left + p->kernel_w <= p->in_w;
    const int contiguous = inside && p->contiguous;
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t iy = top + ky * p->dilation_h;
        if (iy < 0 || iy >= p->in_h) {
            memset(column, (int)p->pad, (size_t)run);
            column += run;
            continue;
        }
        const int8_t *const row = image + iy * p->in_w * p->in_c + group * c;
        if (contiguous) {
            memcpy(column, row + left * c, (size_t)run);
            column += run;
            continue;
        }
        for (int32_t kx = 0; kx < p->kernel_w; kx++) {
            const int32_t ix = left + kx * p->dilation_w;
            if (ix < 0 || ix >= p->in_w) {
                memset(column, (int)p->pad, (size_t)c);
            } else {
                memcpy(column, row + ix * p->in_c, (size_t)c);
            }
            column += c;
        }
    }
}

#endif /* EB_CONV2D_COLUMNS_H */
