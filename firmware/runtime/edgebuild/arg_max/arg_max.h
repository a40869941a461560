/* ARG_MAX on int8: where along an axis the largest value lies, the first one where several do.
 *
 * The input is [outer][axis][inner], the output [outer][inner]. */
#ifndef EB_ARG_MAX_H
#define EB_ARG_MAX_H

#include <stdint.h>

typedef struct {
    int32_t outer;
    int32_t axis;
    int32_t inner;
} eb_arg_max_params;

void eb_arg_max_s8(const eb_arg_max_params *p, const int8_t *input, int32_t *output);

#endif /* EB_ARG_MAX_H */
