/* im2col for one output pixel: the input bytes under the kernel, in the order of the weights. */
#ifndef EB_CONV2D_COLUMNS_H
#define EB_CONV2D_COLUMNS_H

#include "../common/eb_dsp.h"
#include "conv2d.h"

#include <stddef.h>

/* Appends n bytes, or n times the padding without a source. */
static inline int8_t *eb_append(int8_t *to, const int8_t *source, int32_t n, int32_t pad)
{
    if (source == NULL) {
        for (; n > 0; n--) {
            *to++ = (int8_t)pad;
        }
        return to;
    }
    for (; n >= 4; n -= 4, to += 4, source += 4) {
        const uint32_t x = eb_load4(source);
        memcpy(to, &x, sizeof x);
    }
    for (; n > 0; n--) {
        *to++ = *source++;
    }
    return to;
}

/* im2col of one pixel; `image` is one batch from the group's first channel, and the kernel's first
 * tap lies on row `top` and column `left` of it. */
static inline void eb_im2col(const eb_conv2d_params *p, const int8_t *image, int32_t top,
                             int32_t left, int8_t *to)
{
    const int32_t c = p->kernel_c;
    const int32_t before = eb_max_i32(-left, 0);
    const int32_t after = eb_max_i32(left + p->kernel_w - p->in_w, 0);
    for (int32_t ky = p->kernel_h; ky > 0; ky--, top += p->dilation_h) {
        const int8_t *const row = image + (top * p->in_w + left) * p->in_c;
        if (top < 0 || top >= p->in_h) {
            to = eb_append(to, NULL, p->kernel_w * c, p->pad);
        } else if (p->contiguous) {
            to = eb_append(to, NULL, before * c, p->pad);
            to = eb_append(to, row + before * c, (p->kernel_w - before - after) * c, p->pad);
            to = eb_append(to, NULL, after * c, p->pad);
        } else {
            for (int32_t kx = 0; kx < p->kernel_w * p->dilation_w; kx += p->dilation_w) {
                const int inside = left + kx >= 0 && left + kx < p->in_w;
                to = eb_append(to, inside ? row + kx * p->in_c : NULL, c, p->pad);
            }
        }
    }
}

#endif /* EB_CONV2D_COLUMNS_H */
