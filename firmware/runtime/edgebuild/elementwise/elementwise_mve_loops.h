/* The loop nest of eb_broadcast around eight values at a time, widened to halfwords. Only with Helium. */
#ifndef EB_ELEMENTWISE_MVE_LOOPS_H
#define EB_ELEMENTWISE_MVE_LOOPS_H

#include "../common/eb_mve.h"
#include "elementwise_mve.h"

/* The result in the low bytes. */
typedef int16x8_t (*eb_binary_mve)(const void *params, int16x8_t a, int16x8_t b);

/* n values; an operand with a stride of 0 repeats its only one. */
static inline void eb_row_mve(const void *params, eb_binary_mve function, const int8_t *a,
                              int32_t stride_a, const int8_t *b, int32_t stride_b, int8_t *out,
                              int32_t n)
{
    if (stride_a != 0 && stride_b != 0) {
        for (; n > 0; n -= 8, a += 8, b += 8, out += 8) {
            const mve_pred16_t some = vctp16q((uint32_t)n);
            const int16x8_t x = vldrbq_z_s16(a, some), y = vldrbq_z_s16(b, some);
            vstrbq_p_s16(out, function(params, x, y), some);
        }
        return;
    }
    const int16x8_t x0 = vdupq_n_s16(*a), y0 = vdupq_n_s16(*b);
    for (; n > 0; n -= 8, a += 8 * stride_a, b += 8 * stride_b, out += 8) {
        const mve_pred16_t some = vctp16q((uint32_t)n);
        const int16x8_t x = stride_a != 0 ? vldrbq_z_s16(a, some) : x0;
        const int16x8_t y = stride_b != 0 ? vldrbq_z_s16(b, some) : y0;
        vstrbq_p_s16(out, function(params, x, y), some);
    }
}

static inline void eb_elementwise_mve(const eb_broadcast *l, const void *params,
                                      eb_binary_mve function, const int8_t *a, const int8_t *b,
                                      int8_t *out)
{
    for (int32_t i = 0; i < l->count[0]; i++) {
        for (int32_t j = 0; j < l->count[1]; j++) {
            for (int32_t k = 0; k < l->count[2]; k++) {
                const int8_t *x = a + i * l->stride0[0] + j * l->stride0[1] + k * l->stride0[2];
                const int8_t *y = b + i * l->stride1[0] + j * l->stride1[1] + k * l->stride1[2];
                eb_row_mve(params, function, x, l->stride0[3], y, l->stride1[3], out, l->count[3]);
                out += l->count[3];
            }
        }
    }
}

#endif /* EB_ELEMENTWISE_MVE_LOOPS_H */
