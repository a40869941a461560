/* CONCATENATION and PACK: `outer` times one run of each input in turn. Runs are in bytes. */
#ifndef EB_CONCATENATION_H
#define EB_CONCATENATION_H

#include <stdint.h>

typedef struct {
    int32_t outer;
    int32_t inputs;
    const int32_t *runs;
} eb_concatenation_params;

void eb_concatenation(const eb_concatenation_params *p, const void *const *inputs, void *output);

#endif /* EB_CONCATENATION_H */
