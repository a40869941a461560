/* DEPTHWISE_CONV_2D with NEON: 16 channels at a time along an output row. */
#include "depthwise_conv2d_neon.h"

#include "../common/eb_channel_neon.h"

#define INLINE static inline __attribute__((always_inline))

/* What differs between the loops that the compiler makes of one. */
typedef struct {
    int32_t taps;
    int paired; /* the sum of two products fits 16 bits */
    int plain;
} form;

/* 16 channels of one output row. */
typedef struct {
    const int8_t *const *taps; /* of the first pixel */
    const int8_t *weights;
    const eb_channels_neon *channels; /* two */
    int8_t *out;
    int32_t first, count; /* channels */
} row;

INLINE void add(int32x4_t acc[4], int16x8_t low, int16x8_t high)
{
    acc[0] = vaddw_s16(acc[0], vget_low_s16(low));
    acc[1] = vaddw_high_s16(acc[1], low);
    acc[2] = vaddw_s16(acc[2], vget_low_s16(high));
    acc[3] = vaddw_high_s16(acc[3], high);
}

INLINE void accumulate(int32x4_t acc[4], const row *r, ptrdiff_t at, int32_t weights_step, form f)
{
    int32_t t = 0;
    for (; f.paired && t + 2 <= f.taps; t += 2) {
        const int8x16_t x = vld1q_s8(r->taps[t] + at), y = vld1q_s8(r->taps[t + 1] + at);
        const int8x16_t v = vld1q_s8(r->weights + t * weights_step);
        const int8x16_t w = vld1q_s8(r->weights + (t + 1) * weights_step);
        const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(v));
        const int16x8_t high = vmull_high_s8(x, v);
        add(acc, vmlal_s8(low, vget_low_s8(y), vget_low_s8(w)), vmlal_high_s8(high, y, w));
    }
    for (; t < f.taps; t++) {
        const int8x16_t x = vld1q_s8(r->taps[t] + at);
        const int8x16_t v = vld1q_s8(r->weights + t * weights_step);
        add(acc, vmull_s8(vget_low_s8(x), vget_low_s8(v)), vmull_high_s8(x, v));
    }
}

INLINE void output_row(const eb_depthwise_conv2d_neon_params *p, const row *r, form f)
{
    const int32_t in_c = p->rows.in_c;
    const int32_t weights_step = (in_c + 15) / 16 * 16;
    const eb_scales_neon s[2] = { eb_load_scales(r->channels), eb_load_scales(r->channels + 1) };
    const eb_narrowing n = eb_narrowing_neon(p->output.offset, p->output.min, p->output.max);
    ptrdiff_t at = r->first;
    int8_t *out = r->out;
    for (int32_t x = p->out_w; x > 0; x--) {
        int32x4_t acc[4] = { vld1q_s32(r->channels[0].bias), vld1q_s32(r->channels[0].bias + 4),
                             vld1q_s32(r->channels[1].bias), vld1q_s32(r->channels[1].bias + 4) };
        accumulate(acc, r, at, weights_step, f);
        for (int i = 0; i < 4; i++) {
            acc[i] = eb_scale_neon(acc[i], &s[i / 2], i % 2, f.plain);
        }
        eb_store_16_neon(out, eb_narrow_16_neon(acc, n), r->count);
        out += in_c;
        at += p->stride_w * in_c;
    }
}

/* The usual forms get a loop of their own. */
static void choose_row(const eb_depthwise_conv2d_neon_params *p, const row *r)
{
    const int32_t taps = p->rows.kernel_h * p->kernel_w;
    if (p->lowest || !p->plain) {
        output_row(p, r, (form){ taps, 0, 0 });
    } else if (taps == 9) {
        output_row(p, r, (form){ 9, 1, 1 });
    } else {
        output_row(p, r, (form){ taps, 1, 1 });
    }
}

void eb_depthwise_conv2d_s8_neon(const eb_depthwise_conv2d_neon_params *p, const int8_t *input,
                                 int8_t *output, void *scratch)
{
    const int32_t in_c = p->rows.in_c;
    const int8_t **const taps = (const int8_t **)scratch;
    const int32_t count = p->rows.kernel_h * p->kernel_w;
    const eb_rows rows = eb_rows_start(&p->rows, (int8_t *)scratch + (count * 8 + 15) / 16 * 16);
    for (int32_t b = 0; b < p->batches; b++) {
        eb_rows_forget(&rows);
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t ky = 0; ky < p->rows.kernel_h; ky++) {
                const int8_t *const from = eb_rows_get(&rows, input, y, ky);
                for (int32_t kx = 0; kx < p->kernel_w; kx++) {
                    taps[ky * p->kernel_w + kx] = from + kx * p->dilation_w * in_c;
                }
            }
            for (int32_t c = 0; c < in_c; c += 16) {
                const row r = { .taps = taps,
                                .weights = p->weights + c,
                                .channels = (const eb_channels_neon *)p->channels + c / 8,
                                .out = output + c,
                                .first = c,
                                .count = in_c - c };
                choose_row(p, &r);
            }
            output += p->out_w * in_c;
        }
        input += p->rows.in_h * p->rows.in_w * in_c;
    }
}
