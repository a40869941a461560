#include "strided_copy.h"

#include <string.h>

/* The innermost loop. Runs as short as one element are copied without a call; the constant size
 * lets the compiler choose loads that the element's alignment allows. */
static uint8_t *copy_runs(const eb_strided_copy_params *p, const uint8_t *in, uint8_t *out)
{
    const int32_t stride = p->stride[4];
    int32_t n = p->count[4];
    switch (p->run) {
    case 1:
        for (; n > 0; n--, in += stride) {
            *out++ = *in;
        }
        return out;
    case 2:
        for (; n > 0; n--, in += stride, out += 2) {
            memcpy(out, in, 2);
        }
        return out;
    case 4:
        for (; n > 0; n--, in += stride, out += 4) {
            memcpy(out, in, 4);
        }
        return out;
    default:
        for (; n > 0; n--, in += stride, out += p->run) {
            memcpy(out, in, (size_t)p->run);
        }
        return out;
    }
}

void eb_strided_copy(const eb_strided_copy_params *p, const void *input, void *output)
{
    const uint8_t *in = (const uint8_t *)input + p->offset;
    uint8_t *out = (uint8_t *)output;
    for (int32_t i0 = 0; i0 < p->count[0]; i0++) {
        for (int32_t i1 = 0; i1 < p->count[1]; i1++) {
            for (int32_t i2 = 0; i2 < p->count[2]; i2++) {
                const uint8_t *row = in + i0 * p->stride[0] + i1 * p->stride[1] + i2 * p->stride[2];
                for (int32_t i3 = 0; i3 < p->count[3]; i3++) {
                    out = copy_runs(p, row + i3 * p->stride[3], out);
                }
            }
        }
    }
}
