#include "split.h"

#include <string.h>

void eb_split(const eb_split_params *p, const void *input, void *const *outputs)
{
    const uint8_t *in = (const uint8_t *)input;
    for (int32_t k = 0; k < p->outer; k++) {
        for (int32_t i = 0; i < p->outputs; i++) {
            memcpy((uint8_t *)outputs[i] + k * p->run, in, (size_t)p->run);
            in += p->run;
        }
    }
}
