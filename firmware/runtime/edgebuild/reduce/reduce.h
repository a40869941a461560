/* MEAN and SUM on int8: requantize(sum - zero_sum) + offset for each output.
 *
 * The output is walked as three nested loops over what is kept, outermost first; each value is the
 * sum over three nested loops. Strides are in elements. */
#ifndef EB_REDUCE_H
#define EB_REDUCE_H

#include <stdint.h>

typedef struct {
    int32_t kept[3], kept_stride[3];
    int32_t reduced[3], reduced_stride[3];
    int32_t zero_sum; /* the input's zero point times the number of values of one sum */
    int32_t multiplier, shift, offset;
} eb_reduce_params;

void eb_reduce_sum_s8(const eb_reduce_params *p, const int8_t *input, int8_t *output);

#endif /* EB_REDUCE_H */
