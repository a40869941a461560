/* FULLY_CONNECTED with Helium, int8 in, int8 weights, int8 out. */
#ifndef EB_FULLY_CONNECTED_MVE_H
#define EB_FULLY_CONNECTED_MVE_H

#include "../common/eb_matmul_mve.h"

typedef struct {
    int32_t batches;
    eb_matmul_mve_params product; /* units are its channels */
} eb_fully_connected_mve_params;

/* scratch: 12 * EB_SUMS_CHANNELS bytes. */
void eb_fully_connected_s8_mve(const eb_fully_connected_mve_params *p, const int8_t *input,
                               int8_t *output, void *scratch);

#endif /* EB_FULLY_CONNECTED_MVE_H */
