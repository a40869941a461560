#include "../common/eb_mve.h"
#include "pool2d_mve.h"
#include "pool2d_window.h"

#if EB_MVE

static inline int8x16_t window_max(const eb_pool2d_params *p, const int8_t *in, eb_window w,
                                   mve_pred16_t some)
{
    int8x16_t best = vdupq_n_s8(INT8_MIN);
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            best = vmaxq_s8(best, vldrbq_z_s8(v, some));
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return best;
}

void eb_max_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    const int8x16_t min = vdupq_n_s8((int8_t)p->min), max = vdupq_n_s8((int8_t)p->max);
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *const in = image + (w.top * p->in_w + w.left) * p->channels;
                for (int32_t c = 0; c < p->channels; c += 16) {
                    const mve_pred16_t some = vctp8q((uint32_t)(p->channels - c));
                    const int8x16_t best = window_max(p, in + c, w, some);
                    vstrbq_p_s8(output + c, vminq_s8(vmaxq_s8(best, min), max), some);
                }
                output += p->channels;
            }
        }
    }
}

#else

void eb_max_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    eb_max_pool2d_s8(p, input, output);
}

#endif
