#include "eb_mve.h"
#include "eb_strip_mve.h"

/* Where one row of the image goes: a pixel of c bytes into each column. */
typedef struct {
    const int8_t *from;
    int8_t *to;
    int32_t from_step, to_step, c, plane;
} pixels;

#if EB_MVE

/* Where channels 0 to 7 and 8 to 15 go. */
static inline uint64x2_t two_planes(pixels r)
{
    return vreinterpretq_u64_u32(vsetq_lane_u32((uint32_t)r.plane, vdupq_n_u32(0), 2));
}

/* Stores 16 channels, or the first `left` of them; with `planes` these rounded up to 8. */
static inline void store(int8_t *to, int8x16_t x, uint64x2_t two, int32_t left, int planes)
{
    int64_t *const to64 = (int64_t *)(void *)to;
    if (planes && left >= 16) {
        vstrdq_scatter_offset_s64(to64, two, vreinterpretq_s64_s8(x));
    } else if (planes) {
        const mve_pred16_t some = vctp64q((uint32_t)(left + 7) / 8U);
        vstrdq_scatter_offset_p_s64(to64, two, vreinterpretq_s64_s8(x), some);
    } else if (left >= 16) {
        vstrbq_s8(to, x);
    } else {
        vstrbq_p_s8(to, x, vctp8q((uint32_t)left));
    }
}

/* One row of up to 16 channels, for n columns: of the image, or of `value` without a source. */
static inline void some_channels(pixels r, int32_t n, int8x16_t value, int32_t left, int planes)
{
    const uint64x2_t two = two_planes(r);
    if (r.from == NULL) {
        for (; n > 0; n--, r.to += r.to_step) {
            store(r.to, value, two, left, planes);
        }
    } else if (left >= 16) {
        for (; n > 0; n--, r.from += r.from_step, r.to += r.to_step) {
            store(r.to, vldrbq_s8(r.from), two, left, planes);
        }
    } else {
        for (; n > 0; n--, r.from += r.from_step, r.to += r.to_step) {
            store(r.to, vldrbq_z_s8(r.from, vctp8q((uint32_t)left)), two, left, planes);
        }
    }
}

static inline void all_channels(pixels r, int32_t n, int32_t value, int planes)
{
    const int8x16_t x = vdupq_n_s8((int8_t)value);
    for (; r.c >= 16; r.c -= 16, r.to += planes ? 2 * r.plane : 16) {
        some_channels(r, n, x, 16, planes);
        r.from += r.from != NULL ? 16 : 0;
    }
    if (r.c > 0) {
        some_channels(r, n, x, r.c, planes);
    }
}

/* Copies n pixels, or n times `value` without a source. */
static void fill(pixels r, int32_t n, int32_t value)
{
    if (r.plane > 0) {
        all_channels(r, n, value, 1);
    } else {
        all_channels(r, n, value, 0);
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

static void fill(pixels r, int32_t n, int32_t value)
{
    for (; n > 0; n--, r.to += r.to_step) {
        for (int32_t c = 0; c < r.c; c++) {
            const int32_t at = r.plane > 0 ? c / 8 * r.plane + c % 8 : c;
            r.to[at] = r.from != NULL ? r.from[c] : (int8_t)value;
        }
        r.from += r.from != NULL ? r.from_step : 0;
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

/* One row: `n` columns, the first of them column `x` of the image, `stride` apart there. `padded`: the
 * columns beside the image are what they shall be. */
static void fill_row(const eb_strip_mve *s, const int8_t *row, int32_t x, int32_t stride, int32_t n,
                     int8_t *to, int padded)
{
    pixels r = { NULL, to, stride * s->in_c, s->lanes * s->column_bytes, s->in_c, s->plane };
    int32_t before = n, end = n; /* columns left of the image, and to its right edge */
    if (row != NULL) {
        before = x >= 0 ? 0 : eb_min_i32((stride - 1 - x) / stride, n);
        end = x >= s->in_w ? before : eb_min_i32((s->in_w - x + stride - 1) / stride, n);
    }
    if (before > 0 && (row == NULL || !padded)) {
        fill(r, before, s->pad);
    }
    if (end < n && !padded) {
        r.to = to + end * r.to_step;
        fill(r, n - end, s->pad);
    }
    if (before < end) {
        r.from = row + (x + before * stride) * s->in_c;
        r.to = to + before * r.to_step;
        if (s->together > 1) {
            spread(r, end - before, s->together, s->spread);
        } else {
            fill(r, end - before, s->pad);
        }
    }
}

void eb_fill_strip_mve(const eb_strip_mve *s, const int8_t *image, int32_t y, int32_t x, int32_t n,
                       int8_t *strip)
{
    const int32_t stride = s->shared ? 1 : s->stride_w;
    const int32_t columns = s->first + (n - 1) * s->further;
    /* From row to row the same columns are beside the image, when a strip is a whole row. */
    const int padded = y > 0 && s->whole;
    int32_t top = y * s->stride_h - s->pad_top;
    for (int32_t ky = 0; ky < s->kernel_h; ky++, top += s->dilation_h, strip += s->pixel_bytes) {
        const int8_t *const row =
            top < 0 || top >= s->in_h ? NULL : image + top * s->in_w * s->in_c;
        int32_t left = x * s->stride_w - s->pad_left;
        int8_t *to = strip;
        for (int32_t lane = s->lanes; lane > 0; lane--) {
            fill_row(s, row, left, stride, columns, to, padded);
            left += s->dilation_w;
            to += s->column_bytes;
        }
    }
}
