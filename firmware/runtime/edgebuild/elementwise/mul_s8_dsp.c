/* MUL with the DSP extension: the product, doubled, is requantized as eb_scale_dsp does it. */
#include "elementwise_dsp.h"
#include "elementwise_loops.h"

static inline int32_t mul(const void *params, int32_t a, int32_t b)
{
    const eb_mul_dsp_params *const p = (const eb_mul_dsp_params *)params;
    return eb_scale_dsp((2 * a + p->start) * (b - p->zero_point1), p->output);
}

void eb_mul_s8_dsp(const eb_mul_dsp_params *p, const int8_t *a, const int8_t *b, int8_t *out)
{
    /* A copy: for all that C knows, the output lies over the parameters. */
    const eb_mul_dsp_params here = *p;
    eb_elementwise(&here.loops, &here, mul, a, b, out);
    if (p->clamp) {
        const int32_t *const n = p->loops.count;
        eb_clamp_all_dsp(out, n[0] * n[1] * n[2] * n[3], &p->range);
    }
}
