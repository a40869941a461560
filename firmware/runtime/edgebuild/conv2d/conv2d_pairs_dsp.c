/* Pairs of pixels with the DSP extension: 2 pixels x 4 channels of SMLAD, in one loop over all.
 *
 * All constants are one stream of words. For each four channels it holds the starts of the sums of
 * channels 1 and 3; for each two values of depth a word of channels (0, 1) and one of (2, 3), whose
 * halfwords are first + 256 * second, the depth in the order 0, 2, 1, 3; the starts of channels 0
 * and 2; and what follows the sums:
 * - two roundings: starts are twice the bias, of channels 1 and 3 256 times; multiplier, round and
 *   right of eb_channel_dsp for each channel.
 * - one rounding, see single_rounding.py: starts are 256 times the bias plus the fraction; the
 *   multipliers of channels 0, 2, 1 and 3.
 * Zeros fill the depth and missing channels.
 *
 * Columns hold, in the same order of depth, a word of one pixel and a word of the other: SXTB16
 * widens bytes 0, 2 and bytes 1, 3, so that nothing is ever shuffled. */
#include "conv2d_pairs_dsp.h"

#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* r0: columns; r1: stream. Of pixel 0: sums of the first channels of the pairs in r4 and r6, of
 * both in r5 and r7; of pixel 1 in r8, r10, r9 and r11. The first step starts them. */
#define FIRST_STEP                                                                                 \
    "ldr r0, [sp]\n ldr r5, [r1], #4\n ldr r7, [r1], #4\n"                                         \
    "ldr r12, [r1], #4\n ldr lr, [r1], #4\n ldr r2, [r0], #4\n ldr r3, [r0], #4\n"                 \
    "smlad r9, r3, r12, r5\n smlad r5, r2, r12, r5\n"                                              \
    "smlad r11, r3, lr, r7\n smlad r7, r2, lr, r7\n"                                               \
    "sxtb16 r12, r12\n sxtb16 lr, lr\n"                                                            \
    "smuad r4, r2, r12\n smuad r8, r3, r12\n smuad r6, r2, lr\n smuad r10, r3, lr\n"

#define STEP                                                                                       \
    "ldr r2, [r0], #4\n ldr r3, [r0], #4\n ldr r12, [r1], #4\n ldr lr, [r1], #4\n"                 \
    "smlad r5, r2, r12, r5\n smlad r9, r3, r12, r9\n"                                              \
    "smlad r7, r2, lr, r7\n smlad r11, r3, lr, r11\n"                                              \
    "sxtb16 r12, r12\n sxtb16 lr, lr\n"                                                            \
    "smlad r4, r2, r12, r4\n smlad r8, r3, r12, r8\n"                                              \
    "smlad r6, r2, lr, r6\n smlad r10, r3, lr, r10\n"

#define FIVE_STEPS STEP STEP STEP STEP STEP

/* Outputs of pixel 0 in r4 to r7, of pixel 1 in r8 to r11; r2: where they go, lr: out_four, r12:
 * distance. */
#define TARGETS "ldr r2, [sp, #12]\n ldr lr, [sp, #16]\n ldr r12, [sp, #20]\n"

#define ONCE                                                                                       \
    "ldmia r1!, {r0, r2, r3, r12, lr}\n"                                                           \
    "add r4, r0, r4, lsl #8\n add r8, r0, r8, lsl #8\n"                                            \
    "add r6, r2, r6, lsl #8\n add r10, r2, r10, lsl #8\n"                                          \
    EB_LOW("r0")                                                                                   \
    EB_ONCE("r4", "r3", "r0") EB_ONCE("r8", "r3", "r0")                                            \
    EB_ONCE("r6", "r12", "r0") EB_ONCE("r10", "r12", "r0")                                         \
    EB_ONCE("r5", "lr", "r0") EB_ONCE("r9", "lr", "r0")                                            \
    "ldr r3, [r1], #4\n" TARGETS                                                                   \
    EB_ONCE("r7", "r3", "r0") EB_ONCE("r11", "r3", "r0")                                           \
    EB_ONCE_NARROW("r4") EB_ONCE_NARROW("r5") EB_ONCE_NARROW("r6") EB_ONCE_NARROW("r7")            \
    EB_ONCE_NARROW("r8") EB_ONCE_NARROW("r9") EB_ONCE_NARROW("r10") EB_ONCE_NARROW("r11")

/* A channel of both pixels. */
#define CHANNEL(s0, s1)                                                                            \
    "ldmia r1!, {r0, r2, r3}\n" EB_HIGH_ANY(s0, "r0", "r2") EB_HIGH_ANY(s1, "r0", "r2")            \
    EB_NARROW(s0, "r3") EB_NARROW(s1, "r3")

#define TWICE                                                                                      \
    "asr r5, #7\n asr r9, #7\n asr r7, #7\n asr r11, #7\n"                                         \
    "ldmia r1!, {r0, r2}\n"                                                                        \
    "add r4, r0, r4, lsl #1\n add r8, r0, r8, lsl #1\n"                                            \
    "add r6, r2, r6, lsl #1\n add r10, r2, r10, lsl #1\n"                                          \
    CHANNEL("r4", "r8") CHANNEL("r5", "r9") CHANNEL("r6", "r10") CHANNEL("r7", "r11") TARGETS

/* Widens four values of two pixels. */
#define WIDEN(x, y)                                                                                \
    "sxtb16 r10, " x "\n sxtb16 r11, " y "\n"                                                      \
    "sxtb16 " x ", " x ", ror #8\n sxtb16 " y ", " y ", ror #8\n"                                  \
    "str r10, [r2], #4\n str r11, [r2], #4\n str " x ", [r2], #4\n str " y ", [r2], #4\n"

__attribute__((naked, noinline)) void eb_conv2d_pairs_dsp(EB_IN const eb_pixel_pairs *p)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "mov lr, r0\n ldm lr!, {r1-r12}\n"
        "adr.w r0, 3f\n add r3, r0\n orr r3, #1\n"
        "sub sp, #56\n stm sp, {r1-r12}\n"
        "ldrd r2, r3, [lr]\n strd r2, r3, [sp, #48]\n"
        "mov r1, r12\n cmp r7, #0\n beq 4f\n" /* no input: the columns are there */
        "0: ldr r0, [sp, #24]\n ldr lr, [sp, #32]\n ldr r4, [sp, #36]\n ldr r2, [sp]\n"
        "ldr r12, [sp, #4]\n ldr r1, [sp, #44]\n ldr r8, [sp, #48]\n ldr r9, [sp, #52]\n"
        "add lr, r0\n add r4, r0\n str r4, [sp, #24]\n"
        "1: add r3, r2, r8\n tst r8, #16\n beq 2f\n" /* an odd four first */
        "ldr r4, [r0], #4\n ldr r5, [lr], #4\n" WIDEN("r4", "r5")
        "cmp r2, r3\n beq 9f\n"
        "2: ldr r4, [r0], #4\n ldr r5, [lr], #4\n ldr r6, [r0], #4\n ldr r7, [lr], #4\n"
        WIDEN("r4", "r5") WIDEN("r6", "r7")
        "cmp r2, r3\n bne 2b\n"
        "9: add r0, r9\n add lr, r9\n"
        "cmp r2, r12\n blo 1b\n"
        "b 4f\n"
        ".balign 4\n"
        "3:\n" FIVE_STEPS FIVE_STEPS STEP
        "ldr r2, [sp, #4]\n cmp r0, r2\n blo 3b\n"
        "sub r5, r4\n sub r9, r8\n sub r7, r6\n sub r11, r10\n" /* 256 times the seconds */
        "beq 8f\n" ONCE
        /* The four bytes of each pixel; the last ones may be fewer. */
        "9: bfi r4, r5, #8, #24\n bfi r6, r7, #8, #24\n pkhbt r4, r4, r6, lsl #16\n"
        "bfi r8, r9, #8, #24\n bfi r10, r11, #8, #24\n pkhbt r8, r8, r10, lsl #16\n"
        "cmp r2, lr\n bhs 5f\n"
        "str r8, [r2, r12]\n str r4, [r2], #4\n str r2, [sp, #12]\n"
        "4:\n" FIRST_STEP "ldr pc, [sp, #8]\n"
        "5: bhi 7f\n"
        "str r8, [r2, r12]\n str r4, [r2], #4\n"
        "6: ldr r3, [sp, #40]\n ldr r4, [sp, #28]\n"
        "add r2, r3\n add lr, lr, r3, lsl #1\n str r2, [sp, #12]\n str lr, [sp, #16]\n"
        "subs r4, #1\n str r4, [sp, #28]\n bne 0b\n"
        "add sp, #56\n pop {r4-r11, pc}\n"
        "7: strb r8, [r2, r12]\n strb r4, [r2], #1\n lsr r8, #8\n lsr r4, #8\n"
        "sub r3, r2, lr\n cmp r3, #4\n bne 7b\n b 6b\n"
        "8:\n" TWICE "b 9b\n");
}

#else

/* The output of one of four channels from the constants behind their weights and the sum: as it is
 * of channels 0 and 2, times 256 and with the start of channels 1 and 3. */
static int8_t once(const uint32_t *constants, int32_t channel, int32_t sum)
{
    const uint32_t even = constants[channel / 2] + 256 * (uint32_t)sum;
    const uint32_t multiplier = constants[2 + channel % 2 * 2 + channel / 2];
    return eb_scale_once(channel % 2 ? sum : (int32_t)even, (int32_t)multiplier);
}

static int8_t twice(const uint32_t *constants, int32_t channel, int32_t sum)
{
    const uint32_t *const c = constants + 2 + 3 * channel;
    const eb_channel_dsp step = { 0, (int32_t)c[0], (int32_t)c[1], (int32_t)c[2] };
    const uint32_t even = constants[channel / 2] + 2 * (uint32_t)sum;
    return eb_scale_dsp(channel % 2 ? sum >> 7 : (int32_t)even, step);
}

static void widen(const eb_pixel_pairs *p, const int8_t *in, const uint32_t *end)
{
    for (uint32_t *to = p->columns; to != end; in += p->in_skip) {
        for (const uint32_t *const row = to + p->row / 4; to != row; to += 4, in += 4) {
            const uint32_t x = eb_load4(in), y = eb_load4(in + p->in_distance);
            to[0] = eb_even_bytes(x);
            to[1] = eb_even_bytes(y);
            to[2] = eb_odd_bytes(x);
            to[3] = eb_odd_bytes(y);
        }
    }
}

void eb_conv2d_pairs_dsp(const eb_pixel_pairs *p)
{
    const int rounds_once = p->limit % 2 != 0;
    const uint32_t *const end = (const uint32_t *)(p->limit + (uintptr_t)rounds_once);
    const int32_t out_c = (int32_t)(p->out_four + 4 - p->out);
    int8_t *out = p->out;
    for (int32_t pair = 0; pair < p->pairs; pair++, out += out_c + p->out_step) {
        if (p->in != NULL) {
            widen(p, p->in + pair * p->in_step, end);
        }
        const uint32_t *w = p->stream;
        for (int32_t at = 0; at < out_c; at += 4, w += rounds_once ? 6 : 14) {
            int32_t first[4] = { 0 }, both[4]; /* pair of channels + 2 * pixel */
            for (int32_t i = 0; i < 4; i++) {
                both[i] = (int32_t)w[i % 2];
            }
            w += 2;
            for (const uint32_t *x = p->columns; x != end; x += 2, w += 2) {
                for (int32_t i = 0; i < 4; i++) {
                    first[i] = eb_smlad(x[i / 2], eb_even_bytes(w[i % 2]), first[i]);
                    both[i] = eb_smlad(x[i / 2], w[i % 2], both[i]);
                }
            }
            for (int32_t i = 0; i < 2 * eb_min_i32(4, out_c - at); i++) {
                const int32_t channel = i / 2, pixel = 1 - i % 2, n = channel / 2 + 2 * pixel;
                const int32_t second = (int32_t)((uint32_t)both[n] - (uint32_t)first[n]);
                out[pixel * p->out_distance + at + channel] =
                    (rounds_once ? once : twice)(w, channel, channel % 2 ? second : first[n]);
            }
        }
    }
}

#endif
