/* The loop nest of eb_broadcast around sixteen values at a time. */
#ifndef EB_ELEMENTWISE_NEON_LOOPS_H
#define EB_ELEMENTWISE_NEON_LOOPS_H

#include "../common/eb_neon.h"
#include "elementwise_neon.h"

typedef int8x16_t (*eb_binary_neon)(const void *context, int8x16_t a, int8x16_t b);

/* Up to sixteen values from a row's value i on; a stride of 0 repeats the only one. */
static inline int8x16_t eb_operand_neon(const int8_t *row, int32_t stride, int32_t i, int32_t n)
{
    return stride == 0 ? vdupq_n_s8(*row) : eb_load_16_neon(row + i, n);
}

static inline void eb_elementwise_neon(const eb_broadcast *l, const void *context,
                                       eb_binary_neon function, const int8_t *a, const int8_t *b,
                                       int8_t *out)
{
    const int32_t row = l->count[3];
    for (int32_t i = 0; i < l->count[0]; i++) {
        for (int32_t j = 0; j < l->count[1]; j++) {
            for (int32_t k = 0; k < l->count[2]; k++) {
                const int8_t *x = a + i * l->stride0[0] + j * l->stride0[1] + k * l->stride0[2];
                const int8_t *y = b + i * l->stride1[0] + j * l->stride1[1] + k * l->stride1[2];
                for (int32_t n = 0; n < row; n += 16) {
                    const int8x16_t v = eb_operand_neon(x, l->stride0[3], n, row - n);
                    const int8x16_t w = eb_operand_neon(y, l->stride1[3], n, row - n);
                    eb_store_16_neon(out + n, function(context, v, w), row - n);
                }
                out += row;
            }
        }
    }
}

#endif /* EB_ELEMENTWISE_NEON_LOOPS_H */
