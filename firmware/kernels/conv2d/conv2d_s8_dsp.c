/* CONV_2D with the DSP extension: 2 pixels x 2 channels x 4 values of depth in eight SMLADs.
 *
 * Columns and weights are widened by SXTB16, which takes bytes 0, 2 and bytes 1, 3: the same order
 * on both sides, so that nothing is shuffled. */
#include "common/eb_channel_dsp.h"
#include "conv2d/conv2d.h"
#include "conv2d/conv2d_columns.h"

/* Widens n bytes (the last word may be partly beyond them, for which `weights` are zero) into the
 * words of one pixel: two words here, two words of the other pixel, and so on. */
static uint32_t *widen(const int8_t *source, int32_t n, uint32_t *column)
{
    for (; n >= 4; n -= 4) {
        const uint32_t x = eb_load4(source);
        column[0] = eb_even_bytes(x);
        column[1] = eb_odd_bytes(x);
        column += 4;
        source += 4;
    }
    if (n > 0) {
        uint32_t x = 0;
        memcpy(&x, source, (size_t)n);
        column[0] = eb_even_bytes(x);
        column[1] = eb_odd_bytes(x);
        column += 4;
    }
    return column;
}

static uint32_t *widen_pad(int32_t pad, int32_t n, uint32_t *column)
{
    const uint32_t word = ((uint32_t)pad & 0xFFFFU) | ((uint32_t)pad << 16);
    for (; n > 0; n -= 4) {
        column[0] = word;
        column[1] = word;
        column += 4;
    }
    return column;
}

/* im2col and widening in one pass; kernel_c is a multiple of 4. */
static void wide_column(const eb_conv2d_params *p, const int8_t *image, int32_t group, int32_t y,
                        int32_t x, uint32_t *column)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    const int32_t c = p->kernel_c;
    const int inside = left >= 0 && left + p->kernel_w <= p->in_w;
    const int contiguous = inside && p->dilation_w == 1 && p->groups == 1;
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t iy = top + ky * p->dilation_h;
        if (iy < 0 || iy >= p->in_h) {
            column = widen_pad(p->pad, p->kernel_w * c, column);
            continue;
        }
        const int8_t *const row = image + iy * p->in_w * p->in_c + group * c;
        if (contiguous) {
            column = widen(row + left * c, p->kernel_w * c, column);
            continue;
        }
        for (int32_t kx = 0; kx < p->kernel_w; kx++) {
            const int32_t ix = left + kx * p->dilation_w;
            column = ix < 0 || ix >= p->in_w ? widen_pad(p->pad, c, column)
                                             : widen(row + ix * p->in_c, c, column);
        }
    }
}

/* Sums of two pixels (rows) and two channels (columns). */
typedef struct {
    int32_t a00, a01, a10, a11;
} sums;

static inline sums round4(sums s, const uint32_t *x, const uint32_t *w)
{
    const uint32_t w0 = w[0], w1 = w[1];
    const uint32_t w0e = eb_even_bytes(w0), w0o = eb_odd_bytes(w0);
    s.a00 = eb_smlad(x[0], w0e, s.a00);
    s.a10 = eb_smlad(x[2], w0e, s.a10);
    s.a00 = eb_smlad(x[1], w0o, s.a00);
    s.a10 = eb_smlad(x[3], w0o, s.a10);
    const uint32_t w1e = eb_even_bytes(w1), w1o = eb_odd_bytes(w1);
    s.a01 = eb_smlad(x[0], w1e, s.a01);
    s.a11 = eb_smlad(x[2], w1e, s.a11);
    s.a01 = eb_smlad(x[1], w1o, s.a01);
    s.a11 = eb_smlad(x[3], w1o, s.a11);
    return s;
}

static inline sums dot(sums s, const uint32_t *x, const uint32_t *w, int32_t rounds)
{
    for (int32_t n = rounds / 2; n > 0; n--) {
        s = round4(s, x, w);
        s = round4(s, x + 4, w + 2);
        x += 8;
        w += 4;
    }
    return rounds % 2 != 0 ? round4(s, x, w) : s;
}

/* Multiplies two interleaved columns with all channels of a group. A single pixel is given twice,
 * with out1 the same as out0. */
static inline void multiply_as(const eb_conv2d_params *p, const uint32_t *w,
                               const eb_channel *channel, const uint32_t *columns, int8_t *out0,
                               int8_t *out1, int small)
{
    const int32_t rounds = (p->depth + 3) / 4;
    int32_t o = p->out_c;
    for (; o > 1; o -= 2) {
        sums s = { channel[0].bias, channel[1].bias, channel[0].bias, channel[1].bias };
        s = dot(s, columns, w, rounds);
        *out0++ = eb_finish_dsp(s.a00, &channel[0], &p->output, small);
        *out1++ = eb_finish_dsp(s.a10, &channel[0], &p->output, small);
        *out0++ = eb_finish_dsp(s.a01, &channel[1], &p->output, small);
        *out1++ = eb_finish_dsp(s.a11, &channel[1], &p->output, small);
        w += 2 * rounds;
        channel += 2;
    }
    if (o > 0) {
        sums s = { channel->bias, 0, channel->bias, 0 };
        s = dot(s, columns, w, rounds);
        *out0 = eb_finish_dsp(s.a00, channel, &p->output, small);
        *out1 = eb_finish_dsp(s.a10, channel, &p->output, small);
    }
}

static void multiply(const eb_conv2d_params *p, const uint32_t *w, const eb_channel *channel,
                     const uint32_t *columns, int8_t *out0, int8_t *out1)
{
    if (p->small) {
        multiply_as(p, w, channel, columns, out0, out1, 1);
    } else {
        multiply_as(p, w, channel, columns, out0, out1, 0);
    }
}

static void pointwise(const eb_conv2d_params *p, const int8_t *input, int8_t *output,
                      uint32_t *columns)
{
    const eb_channel *const channels = (const eb_channel *)p->channels;
    for (int32_t pixels = p->batches * p->out_h * p->out_w; pixels > 0; pixels -= 2) {
        const int pair = pixels > 1;
        (void)widen(input, p->in_c, columns);
        (void)widen(pair ? input + p->in_c : input, p->in_c, columns + 2);
        multiply(p, (const uint32_t *)(const void *)p->weights, channels, columns, output,
                 pair ? output + p->out_c : output);
        input += 2 * p->in_c;
        output += 2 * p->out_c;
    }
}

static void fill(const eb_conv2d_params *p, const int8_t *image, int32_t group, int32_t y, int32_t x,
                 uint32_t *column, int8_t *narrow)
{
    if (p->kernel_c % 4 == 0) {
        wide_column(p, image, group, y, x, column);
    } else {
        eb_conv2d_column(p, image, group, y, x, narrow);
        (void)widen(narrow, p->depth, column);
    }
}

void eb_conv2d_s8_dsp(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    uint32_t *const columns = (uint32_t *)scratch;
    if (p->pointwise) {
        pointwise(p, input, output, columns);
        return;
    }
    const int32_t words = (p->depth + 3) / 4;
    int8_t *const narrow = (int8_t *)(columns + 4 * words);
    const int32_t stride = p->groups * p->out_c;
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x += 2) {
                const int pair = x + 1 < p->out_w;
                const uint32_t *weights = (const uint32_t *)(const void *)p->weights;
                const eb_channel *channels = (const eb_channel *)p->channels;
                for (int32_t g = 0; g < p->groups; g++) {
                    fill(p, image, g, y, x, columns, narrow);
                    fill(p, image, g, y, pair ? x + 1 : x, columns + 2, narrow);
                    int8_t *const out = output + g * p->out_c;
                    multiply(p, weights, channels, columns, out, pair ? out + stride : out);
                    weights += (p->out_c + 1) / 2 * words * 2;
                    channels += p->out_c;
                }
                output += pair ? 2 * stride : stride;
            }
        }
    }
}
