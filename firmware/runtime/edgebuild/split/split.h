/* SPLIT and UNPACK: `outer` times one run for each output in turn, all equally long, in bytes. */
#ifndef EB_SPLIT_H
#define EB_SPLIT_H

#include <stdint.h>

typedef struct {
    int32_t outer;
    int32_t outputs;
    int32_t run;
} eb_split_params;

void eb_split(const eb_split_params *p, const void *input, void *const *outputs);

#endif /* EB_SPLIT_H */
