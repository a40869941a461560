/* FULLY_CONNECTED with the DSP extension: two units, 16 values of depth a round.
 *
 * Weights: for each pair of units and each 16 values of depth eight words, for the values (0, 2),
 * (1, 3), (4, 6), (5, 7), ...; see eb_both_biases for what a halfword holds. Zeros fill the rest. */
#include "../common/eb_channel_dsp.h"
#include "fully_connected.h"

/* Widens the input once for all units; what lies beyond depth meets zero weights. */
static void widen(const int8_t *source, int32_t n, uint32_t *wide)
{
    for (; n >= 4; n -= 4) {
        const uint32_t x = eb_load4(source);
        source += 4;
        wide[0] = eb_even_bytes(x);
        wide[1] = eb_odd_bytes(x);
        wide += 2;
    }
    if (n > 0) {
        uint32_t x = 0;
        for (int32_t i = n - 1; i >= 0; i--) {
            x = (x << 8) | (uint8_t)source[i];
        }
        wide[0] = eb_even_bytes(x);
        wide[1] = eb_odd_bytes(x);
    }
}

typedef struct {
    int32_t first, both;
} sums;

/* Four values of depth. */
static inline sums step(sums s, const uint32_t **x, const uint32_t **w)
{
    const eb_pair xs = eb_next_pair(x), ws = eb_next_pair(w);
    s.first = eb_smlad(xs.first, eb_even_bytes(ws.first), s.first);
    s.both = eb_smlad(xs.first, ws.first, s.both);
    s.first = eb_smlad(xs.second, eb_even_bytes(ws.second), s.first);
    s.both = eb_smlad(xs.second, ws.second, s.both);
    return s;
}

/* The outputs of one batch. */
static void multiply(const eb_fully_connected_params *p, const uint32_t *wide, int8_t *out)
{
    const uint32_t *w = (const uint32_t *)(const void *)p->weights;
    const eb_channel_dsp *c = (const eb_channel_dsp *)p->channels;
    const uint32_t *const end = wide + (p->depth + 15) / 16 * 8;
    for (int32_t left = p->units; left > 0; left -= 2, c += 2) {
        sums s = { c->bias, eb_both_biases(c) };
        const uint32_t *x = wide;
        do {
            s = step(s, &x, &w);
            s = step(s, &x, &w);
            s = step(s, &x, &w);
            s = step(s, &x, &w);
        } while (x != end);
        *out++ = eb_scale_dsp(eb_twice(s.first), c[0]);
        if (left > 1) {
            *out++ = eb_scale_dsp(eb_twice_second(s.both, s.first), c[1]);
        }
    }
}

void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    uint32_t *const wide = (uint32_t *)scratch;
    for (int32_t b = 0; b < p->batches; b++) {
        widen(input + b * p->depth, p->depth, wide);
        multiply(p, wide, output + b * p->units);
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * p->units, &p->output);
    }
}
