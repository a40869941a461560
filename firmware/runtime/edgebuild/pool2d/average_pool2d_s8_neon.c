/* AVERAGE_POOL_2D with NEON: sums of 16 channels in 16 bits, so that windows hold up to 256 values.
 *
 * The quotient is taken in single precision: of numbers that small it is never rounded up to an
 * integer that the exact one does not reach. */
#include "../common/eb_neon.h"
#include "pool2d_neon.h"
#include "pool2d_window.h"

typedef struct {
    int16x8_t low, high;
} sums;

/* n: channels to read, 16 at most. */
static inline sums window_sums(const eb_pool2d_params *p, const int8_t *in, eb_window w, int32_t n)
{
    sums s = { vdupq_n_s16(0), vdupq_n_s16(0) };
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            const int8x16_t value = eb_load_16_neon(v, n);
            s.low = vaddw_s8(s.low, vget_low_s8(value));
            s.high = vaddw_high_s8(s.high, value);
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return s;
}

/* sum / count, halves rounded away from zero. */
static inline int32x4_t divide(int32x4_t sum, int32_t count)
{
    const int32x4_t half = vdupq_n_s32(count / 2);
    const int32x4_t rounded = vaddq_s32(
        sum, vbslq_s32(vcgtzq_s32(sum), half, vnegq_s32(half)));
    return vcvtq_s32_f32(vdivq_f32(vcvtq_f32_s32(rounded), vdupq_n_f32((float)count)));
}

static inline int8x16_t average(sums s, int32_t count, eb_narrowing n)
{
    const int32x4_t x[4] = { divide(vmovl_s16(vget_low_s16(s.low)), count),
                             divide(vmovl_high_s16(s.low), count),
                             divide(vmovl_s16(vget_low_s16(s.high)), count),
                             divide(vmovl_high_s16(s.high), count) };
    return eb_narrow_16_neon(x, n);
}

void eb_average_pool2d_s8_neon(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    const eb_narrowing n = eb_narrowing_neon(0, p->min, p->max);
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *const in = image + (w.top * p->in_w + w.left) * p->channels;
                for (int32_t c = 0; c < p->channels; c += 16) {
                    const int32_t left = p->channels - c;
                    const sums s = left >= 16 ? window_sums(p, in + c, w, 16)
                                              : window_sums(p, in + c, w, left);
                    eb_store_16_neon(output + c, average(s, w.rows * w.columns, n), left);
                }
                output += p->channels;
            }
        }
    }
}
