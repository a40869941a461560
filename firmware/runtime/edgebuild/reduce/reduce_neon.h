/* MEAN and SUM with NEON. */
#ifndef EB_REDUCE_NEON_H
#define EB_REDUCE_NEON_H

#include "reduce.h"

void eb_reduce_sum_s8_neon(const eb_reduce_params *p, const int8_t *input, int8_t *output);

#endif /* EB_REDUCE_NEON_H */
