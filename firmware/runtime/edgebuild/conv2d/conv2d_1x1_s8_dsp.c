/* The kernel of conv2d_1x1_dsp.h that rounds twice, as TFLite does, for any zero point of the
 * output.
 *
 * Sums of channels 1 and 3 start with 256 times the bias. Behind the weights of four channels lie
 * twice the biases of channels 0 and 2, and what else eb_channel_dsp has of each channel. */
#include "conv2d_1x1_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* A channel of both pixels. */
#define CHANNEL(s0, s1)                                                                            \
    "ldmia r1!, {r0, r2, r3}\n" EB_HIGH_ANY(s0, "r0", "r2") EB_HIGH_ANY(s1, "r0", "r2")            \
    EB_NARROW(s0, "r3") EB_NARROW(s1, "r3")

#define SCALE                                                                                      \
    EB_SECONDS "asr r5, #7\n asr r9, #7\n asr r7, #7\n asr r11, #7\n"                              \
    "ldmia r1!, {r0, r2}\n"                                                                        \
    "add r4, r0, r4, lsl #1\n add r8, r0, r8, lsl #1\n"                                            \
    "add r6, r2, r6, lsl #1\n add r10, r2, r10, lsl #1\n"                                          \
    CHANNEL("r4", "r8") CHANNEL("r5", "r9") CHANNEL("r6", "r10") CHANNEL("r7", "r11") EB_TARGETS

EB_NAKED run(EB_IN const eb_pixel_pairs *p)
{
    __asm volatile(EB_PIXEL_PAIRS(SCALE));
}

#else

static int8_t last_step(const uint32_t *constants, int32_t channel, int32_t sum)
{
    const uint32_t *const c = constants + 2 + 3 * channel;
    const eb_channel_dsp step = { 0, (int32_t)c[0], (int32_t)c[1], (int32_t)c[2] };
    const uint32_t even = constants[channel / 2] + 2 * (uint32_t)sum;
    return eb_scale_dsp(channel % 2 ? sum >> 7 : (int32_t)even, step);
}

static void run(const eb_pixel_pairs *p) { eb_pixel_pairs_c(p, last_step, 14); }

#endif

void eb_conv2d_1x1_s8_dsp(const eb_conv2d_1x1_params *p, const int8_t *input, int8_t *output,
                          void *scratch)
{
    eb_conv2d_1x1(p, input, output, (uint32_t *)scratch, run);
}
