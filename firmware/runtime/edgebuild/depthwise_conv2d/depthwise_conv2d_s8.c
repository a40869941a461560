/* Portable DEPTHWISE_CONV_2D: the taps inside the image, four channels at a time. */
#include "depthwise_conv2d.h"

/* The taps [first, last) along one axis that lie inside the image. */
typedef struct {
    int32_t first, last;
} span;

static span inside(int32_t origin, int32_t dilation, int32_t kernel, int32_t size)
{
    span t = { 0, kernel };
    while (t.first < kernel && origin + t.first * dilation < 0) {
        t.first++;
    }
    while (t.last > t.first && origin + (t.last - 1) * dilation >= size) {
        t.last--;
    }
    return t;
}

/* The taps of one output pixel, from the first one inside the image. */
typedef struct {
    const int8_t *in, *weights;
    int32_t rows, columns;
    int32_t in_row, in_column, weights_row, weights_column; /* distances in bytes */
} window;

static int32_t one_channel(window t, int32_t zero)
{
    int32_t sum = 0;
    for (int32_t ky = t.rows; ky > 0; ky--) {
        const int8_t *x = t.in, *w = t.weights;
        for (int32_t kx = t.columns; kx > 0; kx--) {
            sum += (x[0] - zero) * w[0];
            x += t.in_column;
            w += t.weights_column;
        }
        t.in += t.in_row;
        t.weights += t.weights_row;
    }
    return sum;
}

typedef struct {
    int32_t a[4];
} sums;

static inline sums four_channels(window t, int32_t zero)
{
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t ky = t.rows; ky > 0; ky--) {
        const int8_t *x = t.in, *w = t.weights;
        for (int32_t kx = t.columns; kx > 0; kx--) {
            a0 += (x[0] - zero) * w[0];
            a1 += (x[1] - zero) * w[1];
            a2 += (x[2] - zero) * w[2];
            a3 += (x[3] - zero) * w[3];
            x += t.in_column;
            w += t.weights_column;
        }
        t.in += t.in_row;
        t.weights += t.weights_row;
    }
    return (sums){ { a0, a1, a2, a3 } };
}

static void pixel(const eb_depthwise_conv2d_params *p, window t, int8_t *out)
{
    const eb_channel *channel = (const eb_channel *)p->channels;
    int32_t c = 0;
    if (p->multiplier == 1) {
        for (; c + 4 <= p->in_c; c += 4) {
            const sums s = four_channels(t, p->pad);
            for (int32_t i = 0; i < 4; i++, channel++) {
                *out++ = eb_finish(channel->bias + s.a[i], channel, &p->output);
            }
            t.in += 4;
            t.weights += 4;
        }
    }
    for (; c < p->in_c; c++) {
        for (int32_t m = p->multiplier; m > 0; m--, channel++) {
            const int32_t sum = one_channel(t, p->pad);
            *out++ = eb_finish(channel->bias + sum, channel, &p->output);
            t.weights++;
        }
        t.in++;
    }
}

void eb_depthwise_conv2d_s8(const eb_depthwise_conv2d_params *p, const int8_t *input,
                            int8_t *output)
{
    const int32_t out_c = p->in_c * p->multiplier;
    window t = { .in_column = p->dilation_w * p->in_c,
                 .in_row = p->dilation_h * p->in_w * p->in_c,
                 .weights_column = out_c,
                 .weights_row = p->kernel_w * out_c };
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            const int32_t top = y * p->stride_h - p->pad_top;
            const span v = inside(top, p->dilation_h, p->kernel_h, p->in_h);
            t.rows = v.last - v.first;
            for (int32_t x = 0; x < p->out_w; x++) {
                const int32_t left = x * p->stride_w - p->pad_left;
                const span h = inside(left, p->dilation_w, p->kernel_w, p->in_w);
                const int32_t iy = top + v.first * p->dilation_h;
                const int32_t ix = left + h.first * p->dilation_w;
                t.columns = h.last - h.first;
                t.in = image + (iy * p->in_w + ix) * p->in_c;
                t.weights = p->weights + (v.first * p->kernel_w + h.first) * out_c;
                pixel(p, t, output);
                output += out_c;
            }
        }
    }
}
