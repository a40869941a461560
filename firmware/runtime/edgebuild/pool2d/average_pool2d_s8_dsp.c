/* AVERAGE_POOL_2D with the DSP extension: four channels at a time, summed in 16 bits; the last four
 * overlap those before. */
#include "../common/eb_dsp.h"
#include "pool2d.h"
#include "pool2d_window.h"

typedef struct {
    uint32_t even, odd; /* channels 0, 2 and 1, 3 */
} sums;

static sums window_sums(const eb_pool2d_params *p, const int8_t *in, eb_window w)
{
    sums s = { 0, 0 };
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            const uint32_t four = eb_load4(v);
            s.even = eb_add_even_bytes(s.even, four);
            s.odd = eb_add_odd_bytes(s.odd, four);
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return s;
}

static int8_t mean(const eb_pool2d_params *p, int32_t sum, int32_t count)
{
    const int32_t half = sum > 0 ? count / 2 : -(count / 2);
    return (int8_t)eb_clamp_i32((sum + half) / count, p->min, p->max);
}

void eb_average_pool2d_s8_dsp(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *in = image + (w.top * p->in_w + w.left) * p->channels;
                const int32_t count = w.rows * w.columns;
                for (int32_t left = p->channels; left > 0; left -= 4, in += 4, output += 4) {
                    const int32_t back = eb_max_i32(4 - left, 0); /* once more */
                    in -= back;
                    output -= back;
                    const sums s = window_sums(p, in, w);
                    output[0] = mean(p, (int16_t)s.even, count);
                    output[1] = mean(p, (int16_t)s.odd, count);
                    output[2] = mean(p, (int32_t)s.even >> 16, count);
                    output[3] = mean(p, (int32_t)s.odd >> 16, count);
                }
            }
        }
    }
}
