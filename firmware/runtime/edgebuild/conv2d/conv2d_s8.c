/* Portable CONV_2D: two output pixels at a time, two output channels at a time. */
#include "conv2d.h"
#include "conv2d_columns.h"

/* Multiplies two columns with all channels of a group. out1 may be NULL for a single pixel. */
static void multiply(const eb_conv2d_params *p, const int8_t *weights, const eb_channel *channel,
                     const int8_t *column0, const int8_t *column1, int8_t *out0, int8_t *out1)
{
    const int32_t depth = p->depth;
    int32_t o = 0;
    for (; o + 1 < p->out_c; o += 2) {
        const int8_t *const w0 = weights + o * depth;
        const int8_t *const w1 = w0 + depth;
        int32_t a00 = channel[o].bias, a01 = channel[o + 1].bias;
        int32_t a10 = a00, a11 = a01;
        for (int32_t k = 0; k < depth; k++) {
            const int32_t x0 = column0[k], x1 = column1[k];
            a00 += x0 * w0[k];
            a01 += x0 * w1[k];
            a10 += x1 * w0[k];
            a11 += x1 * w1[k];
        }
        out0[o] = eb_finish(a00, &channel[o], &p->output);
        out0[o + 1] = eb_finish(a01, &channel[o + 1], &p->output);
        if (out1 != NULL) {
            out1[o] = eb_finish(a10, &channel[o], &p->output);
            out1[o + 1] = eb_finish(a11, &channel[o + 1], &p->output);
        }
    }
    if (o < p->out_c) {
        const int8_t *const w0 = weights + o * depth;
        int32_t a0 = channel[o].bias, a1 = a0;
        for (int32_t k = 0; k < depth; k++) {
            a0 += column0[k] * w0[k];
            a1 += column1[k] * w0[k];
        }
        out0[o] = eb_finish(a0, &channel[o], &p->output);
        if (out1 != NULL) {
            out1[o] = eb_finish(a1, &channel[o], &p->output);
        }
    }
}

static void pointwise(const eb_conv2d_params *p, const int8_t *input, int8_t *output)
{
    const eb_channel *const channels = (const eb_channel *)p->channels;
    int32_t pixels = p->batches * p->out_h * p->out_w;
    while (pixels > 0) {
        const int pair = pixels > 1;
        multiply(p, p->weights, channels, input, pair ? input + p->in_c : input, output,
                 pair ? output + p->out_c : NULL);
        input += 2 * p->in_c;
        output += 2 * p->out_c;
        pixels -= 2;
    }
}

void eb_conv2d_s8(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    if (p->pointwise) {
        pointwise(p, input, output);
        return;
    }
    const eb_channel *const channels = (const eb_channel *)p->channels;
    const int32_t stride = p->groups * p->out_c;
    int8_t *const column0 = (int8_t *)scratch;
    int8_t *const column1 = column0 + p->depth;
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x += 2) {
                const int pair = x + 1 < p->out_w;
                for (int32_t g = 0; g < p->groups; g++) {
                    eb_conv2d_column(p, image, g, y, x, column0);
                    if (pair) {
                        eb_conv2d_column(p, image, g, y, x + 1, column1);
                    }
                    int8_t *const out = output + g * p->out_c;
                    multiply(p, p->weights + g * p->out_c * p->depth, channels + g * p->out_c,
                             column0, pair ? column1 : column0, out, pair ? out + stride : NULL);
                }
                output += pair ? 2 * stride : stride;
            }
        }
    }
}
