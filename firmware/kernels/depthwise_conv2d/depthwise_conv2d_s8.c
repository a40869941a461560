/* Portable DEPTHWISE_CONV_2D. */
#include "depthwise_conv2d/depthwise_conv2d.h"

/* The part of a kernel that lies inside the image along one axis: taps [first, last). */
typedef struct {
    int32_t first, last;
} taps;

static taps inside(int32_t origin, int32_t dilation, int32_t kernel, int32_t size)
{
    taps t = { 0, kernel };
    while (t.first < kernel && origin + t.first * dilation < 0) {
        t.first++;
    }
    while (t.last > t.first && origin + (t.last - 1) * dilation >= size) {
        t.last--;
    }
    return t;
}

/* Sum of the taps outside the image, each worth pad * weight: the bias counts on all of them. */
static int32_t outside(const eb_depthwise_conv2d_params *p, taps v, taps h, int32_t o, int32_t out_c)
{
    int32_t sum = 0;
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        for (int32_t kx = 0; kx < p->kernel_w; kx++) {
            if (ky < v.first || ky >= v.last || kx < h.first || kx >= h.last) {
                sum += p->weights[(ky * p->kernel_w + kx) * out_c + o];
            }
        }
    }
    return sum * p->pad;
}

static void pixel(const eb_depthwise_conv2d_params *p, const int8_t *image, int32_t y, int32_t x,
                  int8_t *out)
{
    const eb_channel *channel = (const eb_channel *)p->channels;
    const int32_t out_c = p->in_c * p->multiplier;
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    const taps v = inside(top, p->dilation_h, p->kernel_h, p->in_h);
    const taps h = inside(left, p->dilation_w, p->kernel_w, p->in_w);
    const int whole = v.last - v.first == p->kernel_h && h.last - h.first == p->kernel_w;
    for (int32_t o = 0; o < out_c; o++, channel++) {
        const int32_t c = p->multiplier == 1 ? o : o / p->multiplier;
        int32_t acc = channel->bias + (whole ? 0 : outside(p, v, h, o, out_c));
        for (int32_t ky = v.first; ky < v.last; ky++) {
            const int32_t iy = top + ky * p->dilation_h;
            const int8_t *in = image + (iy * p->in_w + left + h.first * p->dilation_w) * p->in_c + c;
            const int8_t *w = p->weights + (ky * p->kernel_w + h.first) * out_c + o;
            for (int32_t n = h.last - h.first; n > 0; n--) {
                acc += *in * *w;
                in += p->dilation_w * p->in_c;
                w += out_c;
            }
        }
        out[o] = eb_finish(acc, channel, &p->output);
    }
}

void eb_depthwise_conv2d_s8(const eb_depthwise_conv2d_params *p, const int8_t *input,
                            int8_t *output)
{
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                pixel(p, image, y, x, output);
                output += p->in_c * p->multiplier;
            }
        }
    }
}
