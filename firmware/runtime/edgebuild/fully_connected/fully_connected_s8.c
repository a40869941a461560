/* Portable FULLY_CONNECTED: two units at a time. */
#include "fully_connected.h"

void eb_fully_connected_s8(const eb_fully_connected_params *p, const int8_t *input, int8_t *output)
{
    const eb_channel *const channels = (const eb_channel *)p->channels;
    for (int32_t b = 0; b < p->batches; b++) {
        int32_t u = 0;
        for (; u + 1 < p->units; u += 2) {
            const int8_t *const w0 = p->weights + u * p->depth;
            const int8_t *const w1 = w0 + p->depth;
            int32_t a0 = channels[u].bias, a1 = channels[u + 1].bias;
            for (int32_t k = 0; k < p->depth; k++) {
                a0 += input[k] * w0[k];
                a1 += input[k] * w1[k];
            }
            output[u] = eb_finish(a0, &channels[u], &p->output);
            output[u + 1] = eb_finish(a1, &channels[u + 1], &p->output);
        }
        if (u < p->units) {
            const int8_t *const w0 = p->weights + u * p->depth;
            int32_t a0 = channels[u].bias;
            for (int32_t k = 0; k < p->depth; k++) {
                a0 += input[k] * w0[k];
            }
            output[u] = eb_finish(a0, &channels[u], &p->output);
        }
        input += p->depth;
        output += p->units;
    }
}
