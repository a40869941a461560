/* DEPTHWISE_CONV_2D with the DSP extension: four channels at a time, two to a register. */
#include "common/eb_channel_dsp.h"
#include "depthwise_conv2d/depthwise_conv2d.h"

typedef struct {
    int32_t a0, a1, a2, a3;
} sums;

static inline sums tap(sums s, uint32_t x, const int8_t *weights)
{
    const uint32_t w = eb_load4(weights);
    const uint32_t xe = eb_even_bytes(x), xo = eb_odd_bytes(x);
    const uint32_t we = eb_even_bytes(w), wo = eb_odd_bytes(w);
    s.a0 = eb_smlabb(xe, we, s.a0);
    s.a1 = eb_smlabb(xo, wo, s.a1);
    s.a2 = eb_smlatt(xe, we, s.a2);
    s.a3 = eb_smlatt(xo, wo, s.a3);
    return s;
}

/* All taps of four channels; `in` is the input under tap (0, 0), which may lie outside. */
static sums edge(const eb_depthwise_conv2d_params *p, sums s, const int8_t *in, int32_t top,
                 int32_t left, const int8_t *w)
{
    const uint32_t pads = ((uint32_t)p->pad & 0xFFU) * UINT32_C(0x01010101);
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t iy = top + ky * p->dilation_h;
        const int row_inside = iy >= 0 && iy < p->in_h;
        for (int32_t kx = 0; kx < p->kernel_w; kx++, w += p->in_c) {
            const int32_t ix = left + kx * p->dilation_w;
            const int tap_inside = row_inside && ix >= 0 && ix < p->in_w;
            const int32_t at = (ky * p->dilation_h * p->in_w + kx * p->dilation_w) * p->in_c;
            s = tap(s, tap_inside ? eb_load4(in + at) : pads, w);
        }
    }
    return s;
}

static sums interior(const eb_depthwise_conv2d_params *p, sums s, const int8_t *in, const int8_t *w)
{
    const int32_t c = p->in_c;
    const int32_t step = p->dilation_w * c;
    const int32_t next_row = p->dilation_h * p->in_w * c - p->kernel_w * step;
    for (int32_t ky = p->kernel_h; ky > 0; ky--) {
        for (int32_t kx = p->kernel_w; kx > 0; kx--) {
            s = tap(s, eb_load4(in), w);
            in += step;
            w += c;
        }
        in += next_row;
    }
    return s;
}

static inline void pixel(const eb_depthwise_conv2d_params *p, const int8_t *image, int32_t y,
                         int32_t x, int8_t *out, int small)
{
    const eb_channel *channel = (const eb_channel *)p->channels;
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    const int32_t bottom = top + (p->kernel_h - 1) * p->dilation_h;
    const int32_t right = left + (p->kernel_w - 1) * p->dilation_w;
    const int inside = top >= 0 && left >= 0 && bottom < p->in_h && right < p->in_w;
    const int32_t origin = (top * p->in_w + left) * p->in_c;
    for (int32_t c = 0; c < p->in_c; c += 4, channel += 4) {
        sums s = { channel[0].bias, channel[1].bias, channel[2].bias, channel[3].bias };
        s = inside ? interior(p, s, image + origin + c, p->weights + c)
                   : edge(p, s, image + origin + c, top, left, p->weights + c);
        out[c] = eb_finish_dsp(s.a0, &channel[0], &p->output, small);
        out[c + 1] = eb_finish_dsp(s.a1, &channel[1], &p->output, small);
        out[c + 2] = eb_finish_dsp(s.a2, &channel[2], &p->output, small);
        out[c + 3] = eb_finish_dsp(s.a3, &channel[3], &p->output, small);
    }
}

static inline void image_as(const eb_depthwise_conv2d_params *p, const int8_t *image,
                            int8_t *output, int small)
{
    for (int32_t y = 0; y < p->out_h; y++) {
        for (int32_t x = 0; x < p->out_w; x++) {
            pixel(p, image, y, x, output, small);
            output += p->in_c;
        }
    }
}

void eb_depthwise_conv2d_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output)
{
    for (int32_t b = 0; b < p->batches; b++) {
        if (p->small) {
            image_as(p, input, output, 1);
        } else {
            image_as(p, input, output, 0);
        }
        input += p->in_h * p->in_w * p->in_c;
        output += p->out_h * p->out_w * p->in_c;
    }
}
