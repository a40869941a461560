#include "elementwise_neon_loops.h"

static inline int8x16_t larger(const void *context, int8x16_t a, int8x16_t b)
{
    (void)context;
    return vmaxq_s8(a, b);
}

static inline int8x16_t smaller(const void *context, int8x16_t a, int8x16_t b)
{
    (void)context;
    return vminq_s8(a, b);
}

void eb_maximum_s8_neon(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise_neon(&p->loops, NULL, larger, a, b, out);
}

void eb_minimum_s8_neon(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise_neon(&p->loops, NULL, smaller, a, b, out);
}
