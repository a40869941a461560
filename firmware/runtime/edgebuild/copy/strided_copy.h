/* SLICE, STRIDED_SLICE and TRANSPOSE: a dense output from a strided walk over the input.
 *
 * The walk is five nested loops, outermost first, around a contiguous run. Offset, strides and run
 * are in bytes; a stride may be negative. Input and output do not overlap. */
#ifndef EB_STRIDED_COPY_H
#define EB_STRIDED_COPY_H

#include <stdint.h>

typedef struct {
    int32_t offset;
    int32_t count[5];
    int32_t stride[5];
    int32_t run;
} eb_strided_copy_params;

void eb_strided_copy(const eb_strided_copy_params *p, const void *input, void *output);

#endif /* EB_STRIDED_COPY_H */
