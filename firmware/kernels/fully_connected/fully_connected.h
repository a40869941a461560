/* FULLY_CONNECTED, int8 in, int8 weights, int8 out. */
#ifndef EB_FULLY_CONNECTED_H
#define EB_FULLY_CONNECTED_H

#include <stdint.h>

#include "common/eb_channel.h"

typedef struct {
    int32_t batches;
    int32_t depth; /* inputs of one batch */
    int32_t units; /* outputs of one batch */
    int32_t small; /* 1: every unit meets the limits of eb_finish_small */
    const int8_t *weights;
    const int32_t *channels; /* eb_channel for each unit */
    eb_output_stage output;
} eb_fully_connected_params;

/* weights: [units][depth]. */
void eb_fully_connected_s8(const eb_fully_connected_params *p, const int8_t *input, int8_t *output);

/* weights: pairs of units, each [ceil(depth / 4)] times 4 bytes of the first and 4 of the second;
 * missing values are zero. scratch: 4 * ceil(depth / 4) halfwords. */
void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output, void *scratch);

#endif /* EB_FULLY_CONNECTED_H */
