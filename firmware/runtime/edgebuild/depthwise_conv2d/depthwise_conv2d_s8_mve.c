/* DEPTHWISE_CONV_2D with Helium: eight channels of two pixels at a time, over strips of im2col. */
#include "depthwise_conv2d_mve.h"

/* Eight channels, or the last ones. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const eb_scales_mve *scales;
    int32_t channels, taps, offset;
} block;

#if EB_MVE

static inline eb_lanes_mve add(eb_lanes_mve s, int16x8_t x, int16x8_t w)
{
    s.even = vaddq_s32(s.even, vmullbq_int_s16(x, w));
    s.odd = vaddq_s32(s.odd, vmulltq_int_s16(x, w));
    return s;
}

static inline void one_pixel(block b, const int8_t *x, int8_t *out, int floors)
{
    const int8_t *w = b.weights;
    eb_lanes_mve s = eb_load_lanes_mve(b.bias);
    int32_t n = b.taps;
    do {
        s = add(s, vldrbq_s16(x), vldrbq_s16(w));
        x += 8;
        w += 8;
    } while (--n > 0);
    const eb_scales_in_registers scales = eb_load_scales_mve(b.scales);
    const mve_pred16_t some = vctp16q((uint32_t)b.channels);
    vstrbq_p_s16(out, eb_outputs_mve(s, scales, b.offset, floors), some);
}

static inline void two_pixels(block b, const int8_t *x0, const int8_t *x1, int8_t *out0,
                              int8_t *out1, int floors)
{
    const int8_t *w = b.weights;
    eb_lanes_mve s0 = eb_load_lanes_mve(b.bias), s1 = s0;
    int32_t n = b.taps;
    do {
        const int16x8_t tap = vldrbq_s16(w);
        s0 = add(s0, vldrbq_s16(x0), tap);
        s1 = add(s1, vldrbq_s16(x1), tap);
        x0 += 8;
        x1 += 8;
        w += 8;
    } while (--n > 0);
    /* Both before the first is stored: for all that C knows, over the scales. */
    const eb_scales_in_registers scales = eb_load_scales_mve(b.scales);
    const int16x8_t y0 = eb_outputs_mve(s0, scales, b.offset, floors);
    const int16x8_t y1 = eb_outputs_mve(s1, scales, b.offset, floors);
    const mve_pred16_t some = vctp16q((uint32_t)b.channels);
    vstrbq_p_s16(out0, y0, some);
    vstrbq_p_s16(out1, y1, some);
}

#else

static inline void one_pixel(block b, const int8_t *x, int8_t *out, int floors)
{
    (void)floors;
    for (int32_t c = 0; c < eb_min_i32(b.channels, 8); c++) {
        int32_t sum = b.bias[eb_lane(c)];
        for (int32_t i = c; i < 8 * b.taps; i += 8) {
            sum += x[i] * b.weights[i];
        }
        out[c] = eb_scaled(sum, b.scales, c, b.offset);
    }
}

static inline void two_pixels(block b, const int8_t *x0, const int8_t *x1, int8_t *out0,
                              int8_t *out1, int floors)
{
    one_pixel(b, x0, out0, floors);
    one_pixel(b, x1, out1, floors);
}

#endif

static inline void row(const eb_depthwise_conv2d_mve_params *p, const int8_t *strip, int32_t pixels,
                       int8_t *output, int floors)
{
    const int32_t c = p->strip.in_c, step = p->strip.step;
    block b = { p->weights, p->bias, (const eb_scales_mve *)p->scales, c, p->taps,
                p->output.offset };
    while (b.channels > 0) {
        const int8_t *x = strip;
        int8_t *out = output;
        for (int32_t n = pixels; n > 1; n -= 2, x += 2 * step, out += 2 * c) {
            two_pixels(b, x, x + step, out, out + c, floors);
        }
        if (pixels % 2 != 0) {
            one_pixel(b, x, out, floors);
        }
        strip += p->strip.plane;
        output += 8;
        b.channels -= 8;
        b.bias += 8;
        b.scales++;
        b.weights += 8 * b.taps;
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
    eb_clamp_all_mve(output, (int32_t)(out - output), p->output.min, p->output.max);
}
