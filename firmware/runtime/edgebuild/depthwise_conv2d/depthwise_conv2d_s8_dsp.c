/* DEPTHWISE_CONV_2D with the DSP extension: four channels at a time, over the whole image.
 *
 * For each output row the input rows under the kernel are widened into columns, the padding included:
 * each two rows become four words (rows paired in the halfwords, one word a channel, in the order 0,
 * 2, 1, 3), an odd last row becomes two words (channels 0, 2 and channels 1, 3). Weights have the
 * same form, doubled, so that sums are twice the accumulators, as eb_scale_dsp takes them. */
#include "../common/eb_channel_dsp.h"
#include "depthwise_conv2d.h"

/* Words of one column. */
static inline int32_t column_words(const eb_depthwise_conv2d_params *p) { return 2 * p->kernel_h; }

/* Columns of the input that an output row reads, padding included. */
static inline int32_t columns_read(const eb_depthwise_conv2d_params *p)
{
    return (p->out_w - 1) * p->stride_w + (p->kernel_w - 1) * p->dilation_w + 1;
}

/* A row of four channels: n values, `step` bytes apart (0 for padding). */
typedef struct {
    const int8_t *at;
    int32_t step;
} source;

static void widen_pair(source a, source b, int32_t n, uint32_t *column, int32_t words)
{
    for (; n > 0; n--, column += words) {
        const uint32_t x = eb_load4(a.at), y = eb_load4(b.at);
        const uint32_t xe = eb_even_bytes(x), xo = eb_odd_bytes(x);
        const uint32_t ye = eb_even_bytes(y), yo = eb_odd_bytes(y);
        column[0] = eb_lows(xe, ye);
        column[1] = eb_highs(xe, ye);
        column[2] = eb_lows(xo, yo);
        column[3] = eb_highs(xo, yo);
        a.at += a.step;
        b.at += b.step;
    }
}

static void widen_last(source a, int32_t n, uint32_t *column, int32_t words)
{
    for (; n > 0; n--, column += words) {
        const uint32_t x = eb_load4(a.at);
        column[0] = eb_even_bytes(x);
        column[1] = eb_odd_bytes(x);
        a.at += a.step;
    }
}

/* n columns of four channels from `in`, in the row `top` of an image of `rows` rows. */
static void widen(const eb_depthwise_conv2d_params *p, const int8_t *in, int32_t n, int32_t top,
                  int32_t rows, int32_t row_bytes, int32_t dilation, uint32_t *column)
{
    const uint32_t pads = ((uint32_t)p->pad & 0xFFU) * UINT32_C(0x01010101);
    int8_t outside[4];
    memcpy(outside, &pads, sizeof outside);
    source pair[2] = { { outside, 0 }, { outside, 0 } };
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t y = top + ky * dilation;
        const int inside = y >= 0 && y < rows;
        pair[ky & 1].at = inside ? in + y * row_bytes : outside;
        pair[ky & 1].step = inside ? p->in_c : 0;
        if ((ky & 1) != 0) {
            widen_pair(pair[0], pair[1], n, column, column_words(p));
            column += 4;
        } else if (ky + 1 == p->kernel_h) {
            widen_last(pair[0], n, column, column_words(p));
        }
    }
}

typedef struct {
    int32_t a0, a1, a2, a3;
} sums;

/* The kernel over one output pixel; `skip` words lie between two of its columns. */
static inline sums taps(sums s, const uint32_t *x, const uint32_t *w, int32_t kernel_h,
                        int32_t kernel_w, int32_t skip)
{
    for (int32_t kx = kernel_w; kx > 0; kx--) {
        for (int32_t ky = kernel_h; ky > 1; ky -= 2) {
            eb_pair xs = eb_next_pair(&x), ws = eb_next_pair(&w);
            s.a0 = eb_smlad(xs.first, ws.first, s.a0);
            s.a2 = eb_smlad(xs.second, ws.second, s.a2);
            xs = eb_next_pair(&x);
            ws = eb_next_pair(&w);
            s.a1 = eb_smlad(xs.first, ws.first, s.a1);
            s.a3 = eb_smlad(xs.second, ws.second, s.a3);
        }
        if (kernel_h % 2 != 0) {
            const eb_pair xs = eb_next_pair(&x), ws = eb_next_pair(&w);
            s.a0 = eb_smlabb(xs.first, ws.first, s.a0);
            s.a2 = eb_smlatt(xs.first, ws.first, s.a2);
            s.a1 = eb_smlabb(xs.second, ws.second, s.a1);
            s.a3 = eb_smlatt(xs.second, ws.second, s.a3);
        }
        x += skip;
    }
    return s;
}

/* Four channels of one output row. */
static void row(const eb_depthwise_conv2d_params *p, const uint32_t *columns, const uint32_t *w,
                const eb_channel_dsp *c, int8_t *out)
{
    const int32_t next = p->stride_w * column_words(p);
    const int32_t skip = (p->dilation_w - 1) * column_words(p);
    const int usual = p->kernel_h == 3 && p->kernel_w == 3 && skip == 0;
    for (int32_t n = p->out_w; n > 0; n--) {
        sums s = { c[0].bias, c[1].bias, c[2].bias, c[3].bias };
        s = usual ? taps(s, columns, w, 3, 3, 0)
                  : taps(s, columns, w, p->kernel_h, p->kernel_w, skip);
        out[0] = eb_scale_dsp(s.a0, c[0]);
        out[1] = eb_scale_dsp(s.a1, c[1]);
        out[2] = eb_scale_dsp(s.a2, c[2]);
        out[3] = eb_scale_dsp(s.a3, c[3]);
        columns += next;
        out += p->in_c;
    }
}

/* Four channels of one image. `columns` are the first column that is not padding. */
static void image(const eb_depthwise_conv2d_params *p, const int8_t *in, const eb_channel_dsp *c,
                  const uint32_t *w, uint32_t *columns, int8_t *out)
{
    const int32_t n = eb_min_i32(p->in_w, columns_read(p) - p->pad_left);
    for (int32_t y = 0; y < p->out_h; y++) {
        widen(p, in, n, y * p->stride_h - p->pad_top, p->in_h, p->in_w * p->in_c, p->dilation_h,
              columns);
        row(p, columns - p->pad_left * column_words(p), w, c, out);
        out += p->out_w * p->in_c;
    }
}

void eb_depthwise_conv2d_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output, void *scratch)
{
    const int32_t words = column_words(p);
    const int32_t pixels = p->out_h * p->out_w;
    uint32_t *const weights = (uint32_t *)scratch;
    uint32_t *const columns = weights + p->kernel_w * words;
    const uint32_t pads = ((uint32_t)p->pad & 0xFFFFU) | ((uint32_t)p->pad << 16);
    for (int32_t i = 0; i < columns_read(p) * words; i++) {
        columns[i] = pads;
    }
    for (int32_t c = 0; c < p->in_c; c += 4) {
        widen(p, p->weights + c, p->kernel_w, 0, p->kernel_h, p->kernel_w * p->in_c, 1, weights);
        for (int32_t i = 0; i < p->kernel_w * words; i++) {
            weights[i] = eb_double_halves(weights[i]);
        }
        for (int32_t b = 0; b < p->batches; b++) {
            image(p, input + b * p->in_h * p->in_w * p->in_c + c,
                  (const eb_channel_dsp *)p->channels + c, weights, columns + p->pad_left * words,
                  output + b * pixels * p->in_c + c);
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * pixels * p->in_c, &p->output);
    }
}
