/* Rows of an image with their padding, for kernels that never look for edges. */
#ifndef EB_ROWS_NEON_H
#define EB_ROWS_NEON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "eb_math.h"

#define EB_ROWS_SLACK 16 /* bytes behind a row that may be read */

/* A window that slides over an NHWC image. */
typedef struct {
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, stride_h, dilation_h, pad_top, pad_left;
    int32_t columns;  /* of the input that an output row reads, padding included */
    int32_t pad;      /* what lies outside the image */
    int32_t direct;   /* 1: rows are read where they are; they need no padding left or right */
    int32_t copies;   /* rows in scratch memory: kernel_h; with `direct` one of padding, or none */
} eb_rows_params;

/* Rows in use. */
typedef struct {
    const eb_rows_params *p;
    int8_t *copies; /* [copies][bytes] */
    int32_t bytes;  /* of a copy, slack included */
    int32_t *held;  /* [kernel_h]: the row of the image in each copy */
} eb_rows;

/* Uses kernel_h * 4 + copies * (columns * in_c + EB_ROWS_SLACK) bytes of scratch. */
static inline eb_rows eb_rows_start(const eb_rows_params *p, void *scratch)
{
    eb_rows r = { .p = p, .bytes = p->columns * p->in_c + EB_ROWS_SLACK };
    r.held = (int32_t *)scratch;
    r.copies = (int8_t *)(r.held + p->kernel_h);
    memset(r.copies, (int)p->pad, (size_t)r.bytes * (size_t)p->copies);
    return r;
}

/* Forgets what is held: another image follows. */
static inline void eb_rows_forget(const eb_rows *r)
{
    for (int32_t i = 0; i < r->p->kernel_h; i++) {
        r->held[i] = INT32_MIN;
    }
}

/* The row of `image` under row ky of the kernel for output row y, from the first padding on. Copies
 * stay until the window has left them. */
static inline const int8_t *eb_rows_get(const eb_rows *r, const int8_t *image, int32_t y,
                                        int32_t ky)
{
    const eb_rows_params *const p = r->p;
    const int32_t row = y * p->stride_h - p->pad_top + ky * p->dilation_h;
    const int inside = row >= 0 && row < p->in_h;
    const int8_t *const from = image + (ptrdiff_t)row * p->in_w * p->in_c;
    if (p->direct) {
        return inside ? from : r->copies;
    }
    const int32_t slot = p->dilation_h == 1 ? (row + p->pad_top) % p->kernel_h : ky;
    int8_t *const copy = r->copies + slot * r->bytes;
    if (r->held[slot] != row) {
        const int32_t n = eb_min_i32(p->in_w, p->columns - p->pad_left) * p->in_c;
        int8_t *const to = copy + p->pad_left * p->in_c;
        if (inside && n > 0) {
            memcpy(to, from, (size_t)n);
        } else if (n > 0) {
            memset(to, (int)p->pad, (size_t)n);
        }
        r->held[slot] = row;
    }
    return copy;
}

#endif /* EB_ROWS_NEON_H */
