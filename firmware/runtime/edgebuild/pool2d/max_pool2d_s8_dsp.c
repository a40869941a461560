/* MAX_POOL_2D with the DSP extension: four channels at a time; the last four overlap those before. */
#include "../common/eb_dsp.h"
#include "pool2d.h"
#include "pool2d_window.h"

static uint32_t window_max(const eb_pool2d_params *p, const int8_t *in, eb_window w)
{
    uint32_t best = eb_four_bytes(INT8_MIN);
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            best = eb_max_bytes(best, eb_load4(v));
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return best;
}

void eb_max_pool2d_s8_dsp(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    const uint32_t low = eb_four_bytes(p->min), high = eb_four_bytes(p->max);
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *in = image + (w.top * p->in_w + w.left) * p->channels;
                for (int32_t left = p->channels; left > 0; left -= 4, in += 4, output += 4) {
                    const int32_t back = eb_max_i32(4 - left, 0); /* once more */
                    in -= back;
                    output -= back;
                    const uint32_t best = eb_max_bytes(window_max(p, in, w), low);
                    eb_store4(output, eb_min_bytes(best, high));
                }
            }
        }
    }
}
