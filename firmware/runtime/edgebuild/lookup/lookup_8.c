#include "lookup.h"

void eb_lookup_8(const eb_lookup_params *p, const void *input, void *output)
{
    const uint8_t *in = (const uint8_t *)input;
    uint8_t *out = (uint8_t *)output;
    for (int32_t n = p->count; n > 0; n--) {
        *out++ = p->table[*in++];
    }
}
