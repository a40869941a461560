/* ADD and SUB with the DSP extension. Of the two operands, the one with the larger scale, `plain`, needs
 * no more than a shift; the other one is requantized as eb_scale_dsp does it, in one rounding for two.
 * The sum is kept doubled, as that takes it. */
#include "elementwise_dsp.h"
#include "elementwise_loops.h"

#define PLAIN (1 << 20)
#define SCALED (1 << 21)

static inline int32_t twice_scaled(const eb_add_dsp_params *p, int32_t y)
{
    const int32_t high = eb_smmulr(y * SCALED + p->start, p->multiplier);
    return eb_twice((high + (high >> 31) + p->round) >> p->right);
}

static inline int32_t add(const void *params, int32_t x, int32_t y)
{
    const eb_add_dsp_params *const p = (const eb_add_dsp_params *)params;
    return eb_scale_dsp(x * PLAIN + p->base + twice_scaled(p, y), p->output);
}

static inline int32_t plain_less_scaled(const void *params, int32_t x, int32_t y)
{
    const eb_add_dsp_params *const p = (const eb_add_dsp_params *)params;
    return eb_scale_dsp(x * PLAIN + p->base - twice_scaled(p, y), p->output);
}

static inline int32_t scaled_less_plain(const void *params, int32_t x, int32_t y)
{
    const eb_add_dsp_params *const p = (const eb_add_dsp_params *)params;
    return eb_scale_dsp(twice_scaled(p, y) - (x * PLAIN + p->base), p->output);
}

static void clamp(const eb_add_dsp_params *p, int8_t *out)
{
    if (p->clamp) {
        const int32_t *const n = p->loops.count;
        eb_clamp_all_dsp(out, n[0] * n[1] * n[2] * n[3], &p->range);
    }
}

void eb_add_s8_dsp(const eb_add_dsp_params *p, const int8_t *plain, const int8_t *scaled,
                   int8_t *out)
{
    /* A copy: for all that C knows, the output lies over the parameters. */
    const eb_add_dsp_params here = *p;
    eb_elementwise(&here.loops, &here, add, plain, scaled, out);
    clamp(p, out);
}

void eb_sub_s8_dsp(const eb_add_dsp_params *p, const int8_t *plain, const int8_t *scaled,
                   int8_t *out)
{
    const eb_add_dsp_params here = *p;
    if (here.plain_first) {
        eb_elementwise(&here.loops, &here, plain_less_scaled, plain, scaled, out);
    } else {
        eb_elementwise(&here.loops, &here, scaled_less_plain, plain, scaled, out);
    }
    clamp(p, out);
}
