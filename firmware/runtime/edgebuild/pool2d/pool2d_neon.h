/* AVERAGE_POOL_2D and MAX_POOL_2D with NEON. */
#ifndef EB_POOL2D_NEON_H
#define EB_POOL2D_NEON_H

#include "pool2d.h"

/* Windows have at most 256 values. */
void eb_average_pool2d_s8_neon(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

void eb_max_pool2d_s8_neon(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

#endif /* EB_POOL2D_NEON_H */
