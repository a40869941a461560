/* DEPTHWISE_CONV_2D with Helium: eight channels of two pixels at a time, over strips of im2col.
 *
 * Beyond the last channel the next pixel's bytes are read, which meet zero weights. */
#include "depthwise_conv2d_mve.h"

/* Eight channels, or the last ones. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const eb_scales_mve *scales;
    int32_t channels;
} block;

#if EB_MVE

typedef struct {
    int32x4_t even, odd;
} sums;

static inline sums add(sums s, int16x8_t x, int16x8_t w)
{
    s.even = vaddq_s32(s.even, vmullbq_int_s16(x, w));
    s.odd = vaddq_s32(s.odd, vmulltq_int_s16(x, w));
    return s;
}

/* Two pixels, `step` bytes apart; or one, there twice, at a step of 0. */
static inline void two_pixels(const eb_depthwise_conv2d_mve_params *p, block b, const int8_t *x,
                              int32_t step, int8_t *out, int32_t out_step, int floors)
{
    const int8_t *w = b.weights, *y = x + step;
    sums s = { vldrwq_s32(b.bias), vldrwq_s32(b.bias + 4) }, t = s;
    for (int32_t n = p->taps; n > 0; n--) {
        const int16x8_t tap = vldrbq_s16(w);
        s = add(s, vldrbq_s16(x), tap);
        t = add(t, vldrbq_s16(y), tap);
        x += p->strip.in_c;
        y += p->strip.in_c;
        w += 8;
    }
    const int32_t offset = p->output.offset;
    eb_store_scaled_mve(s.even, s.odd, b.scales, offset, floors, out, b.channels);
    eb_store_scaled_mve(t.even, t.odd, b.scales, offset, floors, out + out_step, b.channels);
}

#else

static void one_pixel(const eb_depthwise_conv2d_mve_params *p, block b, const int8_t *x, int8_t *out)
{
    for (int32_t c = 0; c < eb_min_i32(b.channels, 8); c++) {
        int32_t sum = b.bias[eb_lane(c)];
        for (int32_t i = 0; i < p->taps; i++) {
            sum += x[i * p->strip.in_c + c] * b.weights[8 * i + c];
        }
        out[c] = eb_scaled(sum, b.scales, c, p->output.offset);
    }
}

static inline void two_pixels(const eb_depthwise_conv2d_mve_params *p, block b, const int8_t *x,
                              int32_t step, int8_t *out, int32_t out_step, int floors)
{
    (void)floors;
    one_pixel(p, b, x, out);
    one_pixel(p, b, x + step, out + out_step);
}

#endif

static inline void row(const eb_depthwise_conv2d_mve_params *p, const int8_t *strip, int32_t pixels,
                       int8_t *output, int floors)
{
    const int32_t c = p->strip.in_c, step = p->strip.step;
    block b = { p->weights, p->bias, (const eb_scales_mve *)p->scales, c };
    for (; b.channels > 0; b.channels -= 8, b.bias += 8, b.scales++, b.weights += 8 * p->taps) {
        const int8_t *x = strip;
        int8_t *out = output;
        for (int32_t n = pixels; n > 1; n -= 2, x += 2 * step, out += 2 * c) {
            two_pixels(p, b, x, step, out, c, floors);
        }
        if (pixels % 2 != 0) {
            two_pixels(p, b, x, 0, out, 0, floors);
        }
        strip += 8;
        output += 8;
    }
}

void eb_depthwise_conv2d_s8_mve(const eb_depthwise_conv2d_mve_params *p, const int8_t *input,
                                int8_t *output, void *scratch)
{
    int8_t *const strip = (int8_t *)scratch;
    int8_t *out = output;
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x += p->strip.pixels) {
                const int32_t n = eb_min_i32(p->strip.pixels, p->out_w - x);
                eb_fill_strip_mve(&p->strip, input, y, x, n, strip);
                if (p->floors) {
                    row(p, strip, n, out, 1);
                } else {
                    row(p, strip, n, out, 0);
                }
                out += n * p->strip.in_c;
            }
        }
        input += p->strip.in_h * p->strip.in_w * p->strip.in_c;
    }
    eb_clamp_all_mve(output, (int32_t)(out - output),
                     p->output.min, p->output.max);
}
