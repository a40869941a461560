#include "pool2d.h"
#include "pool2d_window.h"

typedef struct {
    int32_t of[4];
} sums;

/* Of four channels, or of one and any values. */
static inline sums window_sums(const eb_pool2d_params *p, const int8_t *in, eb_window w, int four)
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            a += v[0];
            if (four) {
                b += v[1];
                c += v[2];
                d += v[3];
            }
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return (sums){ { a, b, c, d } };
}

static inline int8_t mean(const eb_pool2d_params *p, int32_t sum, int32_t count)
{
    const int32_t half = (count / 2 ^ sum >> 31) - (sum >> 31); /* with the sign of the sum */
    return (int8_t)eb_clamp_i32((sum + half) / count, p->min, p->max);
}

void eb_average_pool2d_s8(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *in = image + (w.top * p->in_w + w.left) * p->channels;
                const int32_t count = w.rows * w.columns;
                int32_t left = p->channels;
                for (; left >= 4; left -= 4, in += 4) {
                    const sums s = window_sums(p, in, w, 1);
                    for (int32_t i = 0; i < 4; i++) {
                        *output++ = mean(p, s.of[i], count);
                    }
                }
                for (; left > 0; left--, in++) {
                    *output++ = mean(p, window_sums(p, in, w, 0).of[0], count);
                }
            }
        }
    }
}
