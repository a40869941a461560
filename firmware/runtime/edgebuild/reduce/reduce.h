/* MEAN and SUM on int8: requantize(sum - zero_sum) + offset for each output.
 *
 * The output is walked as three nested loops over what is kept, outermost first; each value is the
 * sum over three nested loops. Strides are in elements. */
#ifndef EB_REDUCE_H
#define EB_REDUCE_H

#include <stdint.h>

#include "../common/eb_row_sums.h"

typedef struct {
    int32_t kept[3], kept_stride[3];
    int32_t reduced[3], reduced_stride[3];
    int32_t zero_sum; /* the input's zero point times the number of values of one sum */
    int32_t multiplier, shift, offset;
} eb_reduce_params;

void eb_reduce_sum_s8(const eb_reduce_params *p, const int8_t *input, int8_t *output);

typedef struct {
    eb_row_sums rows;
    int32_t zero_sum, multiplier, shift, offset; /* as above */
} eb_reduce_rows_params;

/* The same over a whole image, some rows at a time: the sums stay in the scratch memory, and the
 * last rows write the output. */
void eb_reduce_rows_s8(const eb_reduce_rows_params *p, const int8_t *input, int8_t *output,
                       void *scratch);

#endif /* EB_REDUCE_H */
