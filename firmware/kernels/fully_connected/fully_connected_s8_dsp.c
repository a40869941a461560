/* FULLY_CONNECTED with the DSP extension: two units, 16 values of depth a round.
 *
 * Weights: for each pair of units and each 16 values of depth eight words, for the values (0, 2),
 * (1, 3), (4, 6), (5, 7), ...; see eb_both_biases for what a halfword holds. Zeros fill the rest. */
#include "common/eb_channel_dsp.h"
#include "fully_connected/fully_connected.h"

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

static inline void store(const eb_fully_connected_params *p, int8_t *out, int32_t x)
{
    if (p->clamp) {
        x = eb_clamp_i32(x, p->output.min, p->output.max);
    }
    *out = (int8_t)x;
}

/* The outputs of one batch. */
static void multiply(const eb_fully_connected_params *p, const uint32_t *wide, int8_t *out)
{
    const uint32_t *w = (const uint32_t *)(const void *)p->weights;
    const eb_channel_dsp *c = (const eb_channel_dsp *)p->channels;
    const uint32_t *const end = wide + (p->depth + 15) / 16 * 8;
    const int8_t *const last = out + p->units;
    for (; out < last; c += 2) {
        int32_t first = c->bias, both = eb_both_biases(c);
        const uint32_t *x = wide;
        do {
            for (int32_t i = 0; i < 8; i++) {
                const uint32_t xi = x[i], wi = w[i];
                first = eb_smlad(xi, eb_even_bytes(wi), first);
                both = eb_smlad(xi, wi, both);
            }
            x += 8;
            w += 8;
        } while (x != end);
        store(p, out++, eb_scale_dsp(eb_twice(first), c));
        if (out < last) {
            store(p, out++, eb_scale_dsp(eb_twice_second(both, first), c + 1));
        }
    }
}

void eb_fully_connected_s8_dsp(const eb_fully_connected_params *p, const int8_t *input,
                               int8_t *output, void *scratch)
{
    uint32_t *const wide = (uint32_t *)scratch;
    for (int32_t b = 0; b < p->batches; b++) {
        widen(input, p->depth, wide);
        multiply(p, wide, output);
        input += p->depth;
        output += p->units;
    }
}
