#include "pool2d.h"
#include "pool2d_window.h"

static int32_t window_sum(const eb_pool2d_params *p, const int8_t *in, eb_window w)
{
    int32_t sum = 0;
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            sum += *v;
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return sum;
}

void eb_average_pool2d_s8(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *const in = image + (w.top * p->in_w + w.left) * p->channels;
                const int32_t count = w.rows * w.columns;
                for (int32_t c = 0; c < p->channels; c++) {
                    const int32_t sum = window_sum(p, in + c, w);
                    const int32_t half = sum > 0 ? count / 2 : -(count / 2);
                    *output++ = (int8_t)eb_clamp_i32((sum + half) / count, p->min, p->max);
                }
            }
        }
    }
}
