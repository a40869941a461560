/* AVERAGE_POOL_2D with Helium: sums of 8 channels in 16 bits, so that windows hold up to 256 values.
 *
 * The quotient n / count is (n * m) >> 24 with m = 2^24 / count + 1. It is exact: m * count is at most
 * count more than 2^24, n is below 2^16 and count at most 2^8, so n times what is too much is below
 * 2^24. As a mean's magnitude is at most 128, the product fits 32 bits. */
#include "../common/eb_mve.h"
#include "pool2d_mve.h"
#include "pool2d_window.h"

#if EB_MVE

static inline int16x8_t window_sums(const eb_pool2d_params *p, const int8_t *in, eb_window w,
                                    mve_pred16_t some)
{
    int16x8_t sums = vdupq_n_s16(0);
    for (int32_t y = w.rows; y > 0; y--) {
        const int8_t *v = in;
        for (int32_t x = w.columns; x > 0; x--) {
            sums = vaddq_s16(sums, vldrbq_z_s16(v, some));
            v += p->channels;
        }
        in += p->in_w * p->channels;
    }
    return sums;
}

/* sum / count, halves rounded away from zero. */
static inline int32x4_t divide(int32x4_t sum, int32_t count)
{
    const uint32_t m = (UINT32_C(1) << 24) / (uint32_t)count + 1U;
    const uint32x4_t n = vreinterpretq_u32_s32(vaddq_n_s32(vabsq_s32(sum), count / 2));
    const int32x4_t q = vreinterpretq_s32_u32(vshrq_n_u32(vmulq_n_u32(n, m), 24));
    return vnegq_m_s32(q, q, vcmpltq_n_s32(sum, 0));
}

static inline int16x8_t average(int16x8_t sums, int32_t count)
{
    const int32x4_t even = divide(vmovlbq_s16(sums), count);
    const int32x4_t odd = divide(vmovltq_s16(sums), count);
    return vmovntq_s32(vreinterpretq_s16_s32(even), odd);
}

void eb_average_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    const int16x8_t min = vdupq_n_s16((int16_t)p->min), max = vdupq_n_s16((int16_t)p->max);
    for (int32_t b = 0; b < p->batches; b++) {
        const int8_t *const image = input + b * p->in_h * p->in_w * p->channels;
        for (int32_t y = 0; y < p->out_h; y++) {
            for (int32_t x = 0; x < p->out_w; x++) {
                const eb_window w = eb_pool2d_window(p, y, x);
                const int8_t *const in = image + (w.top * p->in_w + w.left) * p->channels;
                for (int32_t c = 0; c < p->channels; c += 8) {
                    const mve_pred16_t some = vctp16q((uint32_t)(p->channels - c));
                    const int16x8_t sums = window_sums(p, in + c, w, some);
                    const int16x8_t mean = average(sums, w.rows * w.columns);
                    vstrbq_p_s16(output + c, vminq_s16(vmaxq_s16(mean, min), max), some);
                }
                output += p->channels;
            }
        }
    }
}

#else

void eb_average_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output)
{
    eb_average_pool2d_s8(p, input, output);
}

#endif
