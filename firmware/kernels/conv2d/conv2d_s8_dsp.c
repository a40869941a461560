/* CONV_2D with the DSP extension: 2 pixels x 2 channels x 8 values of depth a round.
 *
 * Weights: for each pair of output channels and each 8 values of depth four words, for the values
 * (0, 2), (1, 3), (4, 6) and (5, 7); see eb_both_biases for what a halfword holds. Zeros fill the
 * depth and an odd channel. Columns hold, in the same order, a word of one pixel and a word of the
 * other: SXTB16 widens bytes 0, 2 and bytes 1, 3, so that nothing is ever shuffled. */
#include "common/eb_channel_dsp.h"
#include "conv2d/conv2d.h"

/* Widens n bytes into every second word of `column`; behind the last byte come any values. */
static uint32_t *widen(const int8_t *source, int32_t n, uint32_t *column)
{
    for (; n >= 4; n -= 4) {
        const uint32_t x = eb_load4(source);
        source += 4;
        column[0] = eb_even_bytes(x);
        column[2] = eb_odd_bytes(x);
        column += 4;
    }
    if (n > 0) {
        uint32_t x = 0;
        for (int32_t i = n - 1; i >= 0; i--) {
            x = (x << 8) | (uint8_t)source[i];
        }
        column[0] = eb_even_bytes(x);
        column[2] = eb_odd_bytes(x);
        column += 4;
    }
    return column;
}

/* The same for two pixels at once. */
static void widen2(const int8_t *source0, const int8_t *source1, int32_t n, uint32_t *column)
{
    for (; n >= 4; n -= 4) {
        const uint32_t x = eb_load4(source0), y = eb_load4(source1);
        source0 += 4;
        source1 += 4;
        column[0] = eb_even_bytes(x);
        column[1] = eb_even_bytes(y);
        column[2] = eb_odd_bytes(x);
        column[3] = eb_odd_bytes(y);
        column += 4;
    }
    if (n > 0) {
        (void)widen(source0, n, column);
        (void)widen(source1, n, column + 1);
    }
}

/* Appends n bytes, or n times the padding without a source, to a wide column or a narrow one. */
static void *append(const eb_conv2d_params *p, void *to, const int8_t *source, int32_t n)
{
    if (p->kernel_c % 4 == 0) {
        if (source != NULL) {
            return widen(source, n, (uint32_t *)to);
        }
        const uint32_t pads = ((uint32_t)p->pad & 0xFFFFU) | ((uint32_t)p->pad << 16);
        uint32_t *column = (uint32_t *)to;
        for (; n > 0; n -= 4) {
            column[0] = pads;
            column[2] = pads;
            column += 4;
        }
        return column;
    }
    int8_t *narrow = (int8_t *)to;
    if (source != NULL) {
        for (; n >= 4; n -= 4) {
            const uint32_t x = eb_load4(source);
            memcpy(narrow, &x, sizeof x);
            source += 4;
            narrow += 4;
        }
    }
    for (; n > 0; n--) {
        *narrow++ = source != NULL ? *source++ : (int8_t)p->pad;
    }
    return narrow;
}

/* im2col of output pixel (y, x) of a group; `image` is one batch from the group's first channel. */
static void im2col(const eb_conv2d_params *p, const int8_t *image, int32_t y, int32_t x, void *to)
{
    const int32_t top = y * p->stride_h - p->pad_top;
    const int32_t left = x * p->stride_w - p->pad_left;
    const int32_t c = p->kernel_c;
    const int contiguous = p->dilation_w == 1 && p->groups == 1;
    const int32_t before = eb_max_i32(-left, 0);
    const int32_t after = eb_max_i32(left + p->kernel_w - p->in_w, 0);
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t iy = top + ky * p->dilation_h;
        const int8_t *const row = image + iy * p->in_w * p->in_c;
        if (iy < 0 || iy >= p->in_h) {
            to = append(p, to, NULL, p->kernel_w * c);
        } else if (contiguous) {
            to = append(p, to, NULL, before * c);
            to = append(p, to, row + (left + before) * c, (p->kernel_w - before - after) * c);
            to = append(p, to, NULL, after * c);
        } else {
            for (int32_t kx = 0; kx < p->kernel_w; kx++) {
                const int32_t ix = left + kx * p->dilation_w;
                to = append(p, to, ix < 0 || ix >= p->in_w ? NULL : row + ix * p->in_c, c);
            }
        }
    }
}

static inline void store(const eb_conv2d_params *p, int8_t *out, int32_t x)
{
    if (p->clamp) {
        x = eb_clamp_i32(x, p->output.min, p->output.max);
    }
    *out = (int8_t)x;
}

typedef struct {
    int32_t first0, first1, both0, both1; /* of pixel 0 and pixel 1 */
} sums;

static inline sums step(sums s, const uint32_t *x, uint32_t w)
{
    const uint32_t first = eb_even_bytes(w);
    const uint32_t x0 = x[0], x1 = x[1];
    s.first0 = eb_smlad(x0, first, s.first0);
    s.first1 = eb_smlad(x1, first, s.first1);
    s.both0 = eb_smlad(x0, w, s.both0);
    s.both1 = eb_smlad(x1, w, s.both1);
    return s;
}

/* Multiplies the columns of two pixels with all channels of a group. out1 is out0 for one pixel. */
static const uint32_t *multiply(const eb_conv2d_params *p, const uint32_t *w,
                                const eb_channel_dsp *c, const uint32_t *columns, int8_t *out0,
                                int8_t *out1)
{
    const uint32_t *const end = columns + (p->depth + 7) / 8 * 8;
    int8_t *const last = out0 + p->out_c;
    for (; out0 < last; c += 2) {
        const int32_t both = eb_both_biases(c);
        sums s = { c->bias, c->bias, both, both };
        const uint32_t *x = columns;
        do {
            s = step(s, x, w[0]);
            s = step(s, x + 2, w[1]);
            s = step(s, x + 4, w[2]);
            s = step(s, x + 6, w[3]);
            x += 8;
            w += 4;
        } while (x != end);
        store(p, out1++, eb_scale_dsp(eb_twice(s.first1), c));
        store(p, out0++, eb_scale_dsp(eb_twice(s.first0), c));
        if (out0 < last) {
            store(p, out1++, eb_scale_dsp(eb_twice_second(s.both1, s.first1), c + 1));
            store(p, out0++, eb_scale_dsp(eb_twice_second(s.both0, s.first0), c + 1));
        }
    }
    return w;
}

static void pointwise(const eb_conv2d_params *p, const int8_t *input, int8_t *output,
                      uint32_t *columns)
{
    const eb_channel_dsp *const channels = (const eb_channel_dsp *)p->channels;
    for (int32_t pixels = p->batches * p->out_h * p->out_w; pixels > 0; pixels -= 2) {
        const int32_t other = pixels > 1 ? 1 : 0;
        widen2(input, input + other * p->in_c, p->in_c, columns);
        (void)multiply(p, (const uint32_t *)(const void *)p->weights, channels, columns, output,
                       output + other * p->out_c);
        input += 2 * p->in_c;
        output += 2 * p->out_c;
    }
}

/* Two output pixels of one row, all groups. `other` is 1, or 0 where there is only one pixel. */
static void pixels(const eb_conv2d_params *p, const int8_t *image, int32_t y, int32_t x,
                   int32_t other, int8_t *output, uint32_t *columns)
{
    const uint32_t *weights = (const uint32_t *)(const void *)p->weights;
    const eb_channel_dsp *channels = (const eb_channel_dsp *)p->channels;
    int8_t *const narrow = (int8_t *)(columns + (p->depth + 7) / 8 * 8);
    for (int32_t g = 0; g < p->groups; g++) {
        for (int32_t i = 0; i <= other; i++) {
            if (p->kernel_c % 4 == 0) {
                im2col(p, image, y, x + i, columns + i);
            } else {
                im2col(p, image, y, x + i, narrow);
                (void)widen(narrow, p->depth, columns + i);
            }
        }
        weights = multiply(p, weights, channels, columns, output,
                           output + other * p->groups * p->out_c);
        channels += (p->out_c + 1) / 2 * 2;
        image += p->kernel_c;
        output += p->out_c;
    }
}

void eb_conv2d_s8_dsp(const eb_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
{
    uint32_t *const columns = (uint32_t *)scratch;
    if (p->pointwise) {
        pointwise(p, input, output, columns);
        return;
    }
    const int32_t stride = p->groups * p->out_c;
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->in_c;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x += 2) {
                const int32_t other = x + 1 < p->out_w ? 1 : 0;
                pixels(p, image, y, x, other, output, columns);
                output += (1 + other) * stride;
            }
        }
    }
}
