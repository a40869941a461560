/* The kernel of conv2d_1x1_dsp.h that rounds once, where the output's zero point is -128 and
 * edgebuild found fractions (see single_rounding.py).
 *
 * All starts are 256 times the bias plus the fraction. Behind the weights of four channels lie
 * those of channels 0 and 2, and the multipliers of channels 0, 2, 1 and 3. */
#include "conv2d_1x1_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

#define SCALE                                                                                      \
    EB_SECONDS                                                                                     \
    "ldmia r1!, {r0, r2, r3, r12, lr}\n"                                                           \
    "add r4, r0, r4, lsl #8\n add r8, r0, r8, lsl #8\n"                                            \
    "add r6, r2, r6, lsl #8\n add r10, r2, r10, lsl #8\n"                                          \
    EB_LOW("r0")                                                                                   \
    EB_ONCE("r4", "r3", "r0") EB_ONCE("r8", "r3", "r0")                                            \
    EB_ONCE("r6", "r12", "r0") EB_ONCE("r10", "r12", "r0")                                         \
    EB_ONCE("r5", "lr", "r0") EB_ONCE("r9", "lr", "r0")                                            \
    "ldr r3, [r1], #4\n" EB_TARGETS                                                                \
    EB_ONCE("r7", "r3", "r0") EB_ONCE("r11", "r3", "r0")                                           \
    EB_ONCE_NARROW("r4") EB_ONCE_NARROW("r5") EB_ONCE_NARROW("r6") EB_ONCE_NARROW("r7")            \
    EB_ONCE_NARROW("r8") EB_ONCE_NARROW("r9") EB_ONCE_NARROW("r10") EB_ONCE_NARROW("r11")

EB_NAKED run(EB_IN const eb_pixel_pairs *p)
{
    __asm volatile(EB_PIXEL_PAIRS(SCALE));
}

#else

static int8_t last_step(const uint32_t *constants, int32_t channel, int32_t sum)
{
    const uint32_t even = constants[channel / 2] + 256 * (uint32_t)sum;
    const uint32_t multiplier = constants[2 + channel % 2 * 2 + channel / 2];
    return eb_scale_once(channel % 2 ? sum : (int32_t)even, (int32_t)multiplier);
}

static void run(const eb_pixel_pairs *p) { eb_pixel_pairs_c(p, last_step, 6); }

#endif

void eb_conv2d_1x1_relu_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input, int8_t *output,
                               void *scratch)
{
    eb_conv2d_1x1(p, input, output, (uint32_t *)scratch, run);
}
