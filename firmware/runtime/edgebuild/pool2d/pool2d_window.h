/* The part of a pooling window that lies inside the image. */
#ifndef EB_POOL2D_WINDOW_H
#define EB_POOL2D_WINDOW_H

#include "pool2d.h"

typedef struct {
    int32_t top, left, rows, columns;
} eb_window;

static inline eb_window eb_pool2d_window(const eb_pool2d_params *p, int32_t y, int32_t x)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    eb_window w = { eb_max_i32(top, 0), eb_max_i32(left, 0), 0, 0 };
    w.rows = eb_min_i32(top + p->filter_h, p->in_h) - w.top;
    w.columns = eb_min_i32(left + p->filter_w, p->in_w) - w.left;
    return w;
}

#endif /* EB_POOL2D_WINDOW_H */
