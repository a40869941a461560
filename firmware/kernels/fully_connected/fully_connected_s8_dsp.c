/* FULLY_CONNECTED with the DSP extension: two units, eight values of depth a round. */
#include "common/eb_channel_dsp.h"
#include "fully_connected/fully_connected.h"

/* Widens the input once for all units; what lies beyond depth meets zero weights. */
static void widen(const int8_t *source, int32_t n, uint32_t *wide)
{
    for (; n >= 4; n -= 4) {
        const uint32_t x = eb_load4(source);
        *wide++ = eb_even_bytes(x);
        *wide++ = eb_odd_bytes(x);
        source += 4;
    }
    if (n > 0) {
        uint32_t x = 0;
        memcpy(&x, source, (size_t)n);
        *wide++ = eb_even_bytes(x);
        *wide = eb_odd_bytes(x);
    }
}

typedef struct {
    int32_t a0, a1;
} sums;

static inline sums round4(sums s, const uint32_t *x, const uint32_t *w)
{
    s.a0 = eb_smlad(x[0], eb_even_bytes(w[0]), s.a0);
    s.a1 = eb_smlad(x[0], eb_even_bytes(w[1]), s.a1);
    s.a0 = eb_smlad(x[1], eb_odd_bytes(w[0]), s.a0);
    s.a1 = eb_smlad(x[1], eb_odd_bytes(w[1]), s.a1);
    return s;
}

void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    uint32_t *const wide = (uint32_t *)scratch;
    const int32_t rounds = (p->depth + 3) / 4;
    for (int32_t b = 0; b < p->batches; b++) {
        const uint32_t *w = (const uint32_t *)(const void *)p->weights;
        const eb_channel *channel = (const eb_channel *)p->channels;
        widen(input, p->depth, wide);
        for (int32_t u = 0; u < p->units; u += 2, channel += 2) {
            const int last = u + 1 == p->units;
            const eb_channel *const next = last ? channel : channel + 1;
            sums s = { channel->bias, next->bias };
            const uint32_t *x = wide;
            for (int32_t n = rounds / 2; n > 0; n--, x += 4, w += 4) {
                s = round4(s, x, w);
                s = round4(s, x + 2, w + 2);
            }
            if (rounds % 2 != 0) {
                s = round4(s, x, w);
                w += 2;
            }
            output[u] = eb_finish_dsp(s.a0, channel, &p->output, p->small);
            if (!last) {
                output[u + 1] = eb_finish_dsp(s.a1, next, &p->output, p->small);
            }
        }
        input += p->depth;
        output += p->units;
    }
}
