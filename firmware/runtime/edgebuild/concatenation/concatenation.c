#include "concatenation.h"

#include <string.h>

void eb_concatenation(const eb_concatenation_params *p, const void *const *inputs, void *output)
{
    uint8_t *out = (uint8_t *)output;
    for (int32_t k = 0; k < p->outer; k++) {
        for (int32_t i = 0; i < p->inputs; i++) {
            const int32_t run = p->runs[i];
            memcpy(out, (const uint8_t *)inputs[i] + k * run, (size_t)run);
            out += run;
        }
    }
}
