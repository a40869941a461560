#include "pad.h"

#include <string.h>

static uint8_t *fill(const eb_pad_params *p, uint8_t *out, int32_t bytes)
{
    if (p->element == 1) {
        memset(out, p->value[0], (size_t)bytes);
    } else {
        for (int32_t i = 0; i < bytes; i += p->element) {
            memcpy(out + i, p->value, (size_t)p->element);
        }
    }
    return out + bytes;
}

static uint8_t *pad_run(const eb_pad_params *p, const uint8_t *in, uint8_t *out)
{
    out = fill(p, out, p->before[4]);
    memcpy(out, in, (size_t)p->run);
    return fill(p, out + p->run, p->after[4]);
}

void eb_pad(const eb_pad_params *p, const void *input, void *output)
{
    const uint8_t *in = (const uint8_t *)input;
    uint8_t *out = fill(p, (uint8_t *)output, p->before[0]);
    for (int32_t i0 = 0; i0 < p->count[0]; i0++) {
        out = fill(p, out, p->before[1]);
        for (int32_t i1 = 0; i1 < p->count[1]; i1++) {
            out = fill(p, out, p->before[2]);
            for (int32_t i2 = 0; i2 < p->count[2]; i2++) {
                out = fill(p, out, p->before[3]);
                for (int32_t i3 = 0; i3 < p->count[3]; i3++) {
                    out = pad_run(p, in, out);
                    in += p->run;
                }
                out = fill(p, out, p->after[3]);
            }
            out = fill(p, out, p->after[2]);
        }
        out = fill(p, out, p->after[1]);
    }
    (void)fill(p, out, p->after[0]);
}
