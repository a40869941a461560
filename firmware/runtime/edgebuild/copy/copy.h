/* A plain copy: RESHAPE, SQUEEZE and EXPAND_DIMS where input and output cannot share memory. */
#ifndef EB_COPY_H
#define EB_COPY_H

#include <stdint.h>

typedef struct {
    uint32_t bytes;
} eb_copy_params;

void eb_copy(const eb_copy_params *p, const void *input, void *output);

#endif /* EB_COPY_H */
