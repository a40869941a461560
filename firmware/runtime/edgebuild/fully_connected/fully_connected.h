/* FULLY_CONNECTED, int8 in, int8 weights, int8 out. */
#ifndef EB_FULLY_CONNECTED_H
#define EB_FULLY_CONNECTED_H

#include <stdint.h>

#include "../common/eb_channel.h"

typedef struct {
    int32_t batches;
    int32_t depth; /* inputs of one batch */
    int32_t units; /* outputs of one batch */
    const int8_t *weights;
    const int32_t *channels; /* scales: of each unit or one for all; before them, without DSP, biases */
    uint16_t chunk;          /* DSP: values of depth after which pairs start anew; 0: never */
    uint8_t scale_step;      /* words from a unit's scale to the next one's; 0: one serves all */
    uint8_t once;            /* DSP, 1: units round once, see single_rounding.py */
    uint8_t clamp;           /* 1: the activation's range is not all of int8 */
    eb_output_stage output;
} eb_fully_connected_params;

/* weights: see fully_connected_s8.c; scales: multiplier and shift, as in eb_channel. Biases lack the
 * weights of the ones that eb_values adds. */
void eb_fully_connected_s8(const eb_fully_connected_params *p, const int8_t *input, int8_t *output);

/* weights: see fully_connected_s8_dsp.c; scales: eb_channel_dsp without its bias, or a multiplier
 * where units round once. Only for a depth of four and more. */
void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output);

#endif /* EB_FULLY_CONNECTED_H */
