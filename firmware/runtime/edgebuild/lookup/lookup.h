/* Any function of one byte: a table of 256 bytes, indexed by the input's bits as unsigned. */
#ifndef EB_LOOKUP_H
#define EB_LOOKUP_H

#include <stdint.h>

typedef struct {
    int32_t count;
    const uint8_t *table;
} eb_lookup_params;

/* The output may be the input's memory. Both hold int8 or uint8. */
void eb_lookup_8(const eb_lookup_params *p, const void *input, void *output);

#endif /* EB_LOOKUP_H */
