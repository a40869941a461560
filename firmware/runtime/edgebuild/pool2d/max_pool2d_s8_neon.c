#include "../common/eb_neon.h"
#include "pool2d_neon.h"
#include "pool2d_window.h"

/* n: channels to read, 16 at most. */
static inline int8x16_t window_max(const eb_pool2d_params *p, const int8_t *in, eb_window w,
                                   int32_t n)
{
    int8x16_t best = vdupq_n_s8(INT8_MIN);
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            best = vmaxq_s8(best, eb_load_16_neon(v, n));
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return best;
}

void eb_max_pool2d_s8_neon(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    const int8x16_t min = vdupq_n_s8((int8_t)p->min), max = vdupq_n_s8((int8_t)p->max);
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *const in = image + (w.top * p->in_w + w.left) * p->channels;
                for (int32_t c = 0; c < p->channels; c += 16) {
                    const int32_t left = p->channels - c;
                    const int8x16_t best = left >= 16 ? window_max(p, in + c, w, 16)
                                                      : window_max(p, in + c, w, left);
                    eb_store_16_neon(output + c, vminq_s8(vmaxq_s8(best, min), max), left);
                }
                output += p->channels;
            }
        }
    }
}
