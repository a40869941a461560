/* SOFTMAX over rows of int8; output scale 1/256, zero point -128. */
#ifndef EB_SOFTMAX_H
#define EB_SOFTMAX_H

#include <stdint.h>

typedef struct {
    int32_t rows;
    int32_t depth;
    int32_t table_length;
    const int32_t *exp_table; /* [d]: exp of a difference of -d to the row's maximum, Q0.31 */
} eb_softmax_params;

/* The output may be the input's memory. */
void eb_softmax_s8(const eb_softmax_params *p, const int8_t *input, int8_t *output);

#endif /* EB_SOFTMAX_H */
