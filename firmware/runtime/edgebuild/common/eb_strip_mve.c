#include "eb_mve.h"
#include "eb_strip_mve.h"

/* Where one row of the image goes: a pixel of c bytes into each column. */
typedef struct {
    const int8_t *from;
    int8_t *to;
    int32_t from_step, to_step, c, plane;
} pixels;

#if EB_MVE

static inline uint64x2_t two_planes(pixels r)
{
    return vreinterpretq_u64_u32(vsetq_lane_u32((uint32_t)r.plane, vdupq_n_u32(0), 2));
}

static void pad_planes(pixels r, int32_t n, int8x16_t x)
{
    const uint64x2_t offsets = two_planes(r);
    for (; r.c > 0; r.c -= 16, r.to += 2 * r.plane) {
        const mve_pred16_t planes = vctp64q((uint32_t)(r.c + 7) / 8U);
        int8_t *to = r.to;
        for (int32_t i = n; i > 0; i--, to += r.to_step) {
            vstrdq_scatter_offset_p_s64((int64_t *)(void *)to, offsets, vreinterpretq_s64_s8(x),
                                        planes);
        }
    }
}

static void copy_planes(pixels r, int32_t n)
{
    const uint64x2_t offsets = two_planes(r);
    for (; r.c > 0; r.c -= 16, r.from += 16, r.to += 2 * r.plane) {
        const mve_pred16_t some = vctp8q((uint32_t)r.c);
        const mve_pred16_t planes = vctp64q((uint32_t)(r.c + 7) / 8U);
        const int8_t *from = r.from;
        int8_t *to = r.to;
        for (int32_t i = n; i > 0; i--, from += r.from_step, to += r.to_step) {
            const int64x2_t x = vreinterpretq_s64_s8(vldrbq_z_s8(from, some));
            vstrdq_scatter_offset_p_s64((int64_t *)(void *)to, offsets, x, planes);
        }
    }
}

static void pad(pixels r, int32_t n, int32_t value)
{
    const int8x16_t x = vdupq_n_s8((int8_t)value);
    if (r.plane > 0) {
        pad_planes(r, n, x);
        return;
    }
    for (; r.c > 0; r.c -= 16, r.to += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)r.c);
        int8_t *to = r.to;
        for (int32_t i = n; i > 0; i--, to += r.to_step) {
            vstrbq_p_s8(to, x, some);
        }
    }
}

static void copy(pixels r, int32_t n)
{
    if (r.plane > 0) {
        copy_planes(r, n);
        return;
    }
    for (; r.c > 0; r.c -= 16, r.from += 16, r.to += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)r.c);
        const int8_t *from = r.from;
        int8_t *to = r.to;
        for (int32_t i = n; i > 0; i--, from += r.from_step, to += r.to_step) {
            vstrbq_p_s8(to, vldrbq_z_s8(from, some), some);
        }
    }
}

/* The same for neighbouring pixels, several at once. */
static void spread(pixels r, int32_t n, int32_t together, const uint8_t *where)
{
    const uint8x16_t offsets = vldrbq_u8(where);
    for (; n > 0; n -= together) {
        const mve_pred16_t some = vctp8q((uint32_t)(eb_min_i32(n, together) * r.c));
        vstrbq_scatter_offset_p_s8(r.to, offsets, vldrbq_z_s8(r.from, some), some);
        r.from += together * r.c;
        r.to += together * r.to_step;
    }
}

#else

static int8_t *channel(pixels r, int32_t c)
{
    return r.to + (r.plane > 0 ? c / 8 * r.plane + c % 8 : c);
}

static void pad(pixels r, int32_t n, int32_t value)
{
    for (; n > 0; n--, r.to += r.to_step) {
        for (int32_t c = 0; c < r.c; c++) {
            *channel(r, c) = (int8_t)value;
        }
    }
}

static void copy(pixels r, int32_t n)
{
    for (; n > 0; n--, r.from += r.from_step, r.to += r.to_step) {
        for (int32_t c = 0; c < r.c; c++) {
            *channel(r, c) = r.from[c];
        }
    }
}

static void spread(pixels r, int32_t n, int32_t together, const uint8_t *where)
{
    for (; n > 0; n -= together) {
        const int32_t bytes = eb_min_i32(n, together) * r.c;
        for (int32_t i = 0; i < bytes; i++) {
            r.to[where[i]] = r.from[i];
        }
        r.from += bytes;
        r.to += together * r.to_step;
    }
}

#endif

/* One row: `n` columns, the first of them column `x` of the image, `stride` apart there. */
static void fill_row(const eb_strip_mve *s, const int8_t *row, int32_t x, int32_t stride, int32_t n,
                     int8_t *to)
{
    pixels r = { row, to, stride * s->in_c, s->lanes * s->column_bytes, s->in_c,
                 s->plane };
    int32_t before = n, end = n; /* columns left of the image, and to its right edge */
    if (row != NULL) {
        before = x >= 0 ? 0 : eb_min_i32((stride - 1 - x) / stride, n);
        end = x >= s->in_w ? before : eb_min_i32((s->in_w - x + stride - 1) / stride, n);
        r.from += (x + before * stride) * s->in_c;
    }
    if (before > 0) {
        pad(r, before, s->pad);
    }
    r.to += before * r.to_step;
    if (s->together > 1) {
        spread(r, end - before, s->together, s->spread);
    } else {
        copy(r, end - before);
    }
    r.to += (end - before) * r.to_step;
    if (end < n) {
        pad(r, n - end, s->pad);
    }
}

void eb_fill_strip_mve(const eb_strip_mve *s, const int8_t *image, int32_t y, int32_t x, int32_t n,
                       int8_t *strip)
{
    const int32_t stride = s->shared ? 1 : s->stride_w;
    const int32_t columns = s->first + (n - 1) * s->further;
    int32_t top = y * s->stride_h - s->pad_top;
    for (int32_t ky = 0; ky < s->kernel_h; ky++, top += s->dilation_h, strip += s->pixel_bytes) {
        const int8_t *const row =
            top < 0 || top >= s->in_h ? NULL : image + top * s->in_w * s->in_c;
        int32_t left = x * s->stride_w - s->pad_left;
        int8_t *to = strip;
        for (int32_t lane = s->lanes; lane > 0; lane--) {
            fill_row(s, row, left, stride, columns, to);
            left += s->dilation_w;
            to += s->column_bytes;
        }
    }
}
