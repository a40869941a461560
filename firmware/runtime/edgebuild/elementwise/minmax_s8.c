#include "elementwise_loops.h"

static inline int32_t larger(const void *params, int32_t a, int32_t b)
{
    (void)params;
    return eb_max_i32(a, b);
}

static inline int32_t smaller(const void *params, int32_t a, int32_t b)
{
    (void)params;
    return eb_min_i32(a, b);
}

void eb_maximum_s8(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise(&p->loops, p, larger, a, b, out);
}

void eb_minimum_s8(const eb_minmax_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    eb_elementwise(&p->loops, p, smaller, a, b, out);
}
