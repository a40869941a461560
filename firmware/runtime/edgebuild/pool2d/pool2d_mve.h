/* AVERAGE_POOL_2D and MAX_POOL_2D with Helium. */
#ifndef EB_POOL2D_MVE_H
#define EB_POOL2D_MVE_H

#include "pool2d.h"

/* Windows have at most 256 values. */
void eb_average_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

void eb_max_pool2d_s8_mve(const eb_pool2d_params *p, const int8_t *input, int8_t *output);

#endif /* EB_POOL2D_MVE_H */
