/* DEPTHWISE_CONV_2D with the DSP extension: four channels at a time, over the whole image.
 *
 * A group's weights are widened and doubled once, so that sums are twice the accumulators, as
 * eb_scale_dsp takes them: for each tap a word for channels (0, 2) and one for channels (1, 3). */
#include "common/eb_channel_dsp.h"
#include "depthwise_conv2d/depthwise_conv2d.h"

typedef struct {
    int32_t a0, a1, a2, a3;
} sums;

static inline sums tap(sums s, uint32_t x, const uint32_t *w)
{
    const uint32_t even = eb_even_bytes(x), odd = eb_odd_bytes(x);
    s.a0 = eb_smlabb(even, w[0], s.a0);
    s.a1 = eb_smlabb(odd, w[1], s.a1);
    s.a2 = eb_smlatt(even, w[0], s.a2);
    s.a3 = eb_smlatt(odd, w[1], s.a3);
    return s;
}

static void widen(const eb_depthwise_conv2d_params *p, const int8_t *w, uint32_t *wide)
{
    for (int32_t n = p->kernel_h * p->kernel_w; n > 0; n--) {
        const uint32_t x = eb_load4(w);
        wide[0] = eb_double_halves(eb_even_bytes(x));
        wide[1] = eb_double_halves(eb_odd_bytes(x));
        wide += 2;
        w += p->in_c;
    }
}

/* All taps, of which some lie outside the image; `in` is the input under tap (0, 0). */
static sums edge(const eb_depthwise_conv2d_params *p, sums s, const int8_t *in, int32_t top,
                 int32_t left, const uint32_t *w)
{
    const uint32_t pads = ((uint32_t)p->pad & 0xFFU) * UINT32_C(0x01010101);
    const int32_t step = p->dilation_w * p->in_c;
    for (int32_t ky = p->kernel_h; ky > 0; ky--) {
        const int8_t *row = in;
        const int row_inside = top >= 0 && top < p->in_h;
        int32_t ix = row_inside ? left : p->in_w;
        for (int32_t kx = p->kernel_w; kx > 0; kx--) {
            s = tap(s, (uint32_t)ix < (uint32_t)p->in_w ? eb_load4(row) : pads, w);
            ix += p->dilation_w;
            row += step;
            w += 2;
        }
        top += p->dilation_h;
        in += p->dilation_h * p->in_w * p->in_c;
    }
    return s;
}

static inline sums interior(const eb_depthwise_conv2d_params *p, sums s, const int8_t *in,
                            const uint32_t *w)
{
    const int32_t step = p->dilation_w * p->in_c;
    const int32_t next_row = p->dilation_h * p->in_w * p->in_c;
    if (p->kernel_w == 3) {
        for (int32_t ky = p->kernel_h; ky > 0; ky--) {
            s = tap(s, eb_load4(in), w);
            s = tap(s, eb_load4(in + step), w + 2);
            s = tap(s, eb_load4(in + 2 * step), w + 4);
            in += next_row;
            w += 6;
        }
        return s;
    }
    for (int32_t ky = p->kernel_h; ky > 0; ky--) {
        const int8_t *row = in;
        for (int32_t kx = p->kernel_w; kx > 0; kx--) {
            s = tap(s, eb_load4(row), w);
            row += step;
            w += 2;
        }
        in += next_row;
    }
    return s;
}

static inline void store(const eb_depthwise_conv2d_params *p, int8_t *out, int32_t x)
{
    if (p->clamp) {
        x = eb_clamp_i32(x, p->output.min, p->output.max);
    }
    *out = (int8_t)x;
}

/* Four channels of all output pixels. */
static void group(const eb_depthwise_conv2d_params *p, const int8_t *image, const eb_channel_dsp *c,
                  const uint32_t *w, int8_t *out)
{
    const int32_t extent_h = (p->kernel_h - 1) * p->dilation_h;
    const int32_t extent_w = (p->kernel_w - 1) * p->dilation_w;
    for (int32_t y = 0; y < p->out_h; y++) {
        const int32_t top = y * p->stride_h - p->pad_top;
        const int row_inside = top >= 0 && top + extent_h < p->in_h;
        const int8_t *in = image + (top * p->in_w - p->pad_left) * p->in_c;
        int32_t left = -p->pad_left;
        for (int32_t x = p->out_w; x > 0; x--) {
            sums s = { c[0].bias, c[1].bias, c[2].bias, c[3].bias };
            if (row_inside && left >= 0 && left + extent_w < p->in_w) {
                s = interior(p, s, in, w);
            } else {
                s = edge(p, s, in, top, left, w);
            }
            store(p, out, eb_scale_dsp(s.a0, &c[0]));
            store(p, out + 1, eb_scale_dsp(s.a1, &c[1]));
            store(p, out + 2, eb_scale_dsp(s.a2, &c[2]));
            store(p, out + 3, eb_scale_dsp(s.a3, &c[3]));
            out += p->in_c;
            in += p->stride_w * p->in_c;
            left += p->stride_w;
        }
    }
}

void eb_depthwise_conv2d_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output, void *scratch)
{
    uint32_t *const wide = (uint32_t *)scratch;
    const eb_channel_dsp *const channels = (const eb_channel_dsp *)p->channels;
    for (int32_t c = 0; c < p->in_c; c += 4) {
        widen(p, p->weights + c, wide);
        for (int32_t b = 0; b < p->batches; b++) {
            group(p, input + b * p->in_h * p->in_w * p->in_c + c, channels + c, wide,
                  output + b * p->out_h * p->out_w * p->in_c + c);
        }
    }
}
