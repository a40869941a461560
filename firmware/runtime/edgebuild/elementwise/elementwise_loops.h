/* The loop nest of eb_broadcast around one expression, which is inlined into it. */
#ifndef EB_ELEMENTWISE_LOOPS_H
#define EB_ELEMENTWISE_LOOPS_H

#include "elementwise.h"

typedef int32_t (*eb_binary)(const void *params, int32_t a, int32_t b);

static inline void eb_elementwise(const eb_broadcast *l, const void *params, eb_binary function,
                                  const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t i = 0; i < l->count[0]; i++) {
        for (int32_t j = 0; j < l->count[1]; j++) {
            for (int32_t k = 0; k < l->count[2]; k++) {
                const int8_t *x = a + i * l->stride0[0] + j * l->stride0[1] + k * l->stride0[2];
                const int8_t *y = b + i * l->stride1[0] + j * l->stride1[1] + k * l->stride1[2];
                for (int32_t n = l->count[3]; n > 0; n--) {
                    *out++ = (int8_t)function(params, *x, *y);
                    x += l->stride0[3];
                    y += l->stride1[3];
                }
            }
        }
    }
}

#endif /* EB_ELEMENTWISE_LOOPS_H */
