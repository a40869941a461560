/* CONV_2D with a kernel of 1x1 and the DSP extension: 2 pixels x 4 channels of SMLAD, and one loop
 * in assembly over all pairs of pixels of a row. Depth is a multiple of 4.
 *
 * All constants are one stream of words. For each four channels it holds the starts of the sums of
 * channels 1 and 3; for each two values of depth a word of channels (0, 1) and one of (2, 3), whose
 * halfwords are first + 256 * second (see eb_channel_dsp.h), the depth in the order 0, 2, 1, 3; and
 * the constants of the last step, which differs between the kernels. Missing channels are zeros.
 *
 * Columns hold, in the same order, a word of one pixel and a word of the other: SXTB16 widens bytes
 * 0, 2 and bytes 1, 3, so that nothing is ever shuffled. */
#ifndef EB_CONV2D_1X1_DSP_H
#define EB_CONV2D_1X1_DSP_H

#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "conv2d.h"

/* Pairs of pixels at even distances; the assembly knows the order of the fields. */
typedef struct {
    uint32_t *columns, *columns_end;
    int32_t entry; /* bytes of unrolled code before the first step that runs */
    int8_t *out, *out_four; /* of the first pixel; out_four: 4 bytes before its end */
    int32_t out_distance; /* from a pixel to the other one; 0, as in_distance, where it is alone */
    const int8_t *in;
    int32_t pairs;
    int32_t in_distance, in_step; /* in_step: from pair to pair */
    int32_t out_step;             /* from the end of a pair's first pixel to the next pair */
    const uint32_t *stream;
} eb_pixel_pairs;

#define EB_ROUND 16      /* steps of two values of depth that the loop is unrolled to */
#define EB_STEP_BYTES 56 /* of code: 14 instructions */

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* r0: columns; r1: stream. Of pixel 0: sums of the first channels of the pairs in r4 and r6, of
 * both in r5 and r7; of pixel 1 in r8, r10, r9 and r11. The first step starts them. */
#define EB_FIRST_STEP                                                                              \
    "ldr r0, [sp]\n ldr r5, [r1], #4\n ldr r7, [r1], #4\n"                                         \
    "ldr r12, [r1], #4\n ldr lr, [r1], #4\n ldr r2, [r0], #4\n ldr r3, [r0], #4\n"                 \
    "smlad r9, r3, r12, r5\n smlad r5, r2, r12, r5\n"                                              \
    "smlad r11, r3, lr, r7\n smlad r7, r2, lr, r7\n"                                               \
    "sxtb16 r12, r12\n sxtb16 lr, lr\n"                                                            \
    "smuad r4, r2, r12\n smuad r8, r3, r12\n smuad r6, r2, lr\n smuad r10, r3, lr\n"

#define EB_STEP                                                                                    \
    "ldr r2, [r0], #4\n ldr r3, [r0], #4\n ldr r12, [r1], #4\n ldr lr, [r1], #4\n"                 \
    "smlad r5, r2, r12, r5\n smlad r9, r3, r12, r9\n"                                              \
    "smlad r7, r2, lr, r7\n smlad r11, r3, lr, r11\n"                                              \
    "sxtb16 r12, r12\n sxtb16 lr, lr\n"                                                            \
    "smlad r4, r2, r12, r4\n smlad r8, r3, r12, r8\n"                                              \
    "smlad r6, r2, lr, r6\n smlad r10, r3, lr, r10\n"

#define EB_FOUR_STEPS EB_STEP EB_STEP EB_STEP EB_STEP

/* 256 times the sums of the second channels and their starts, from the sums of both. */
#define EB_SECONDS "sub r5, r4\n sub r9, r8\n sub r7, r6\n sub r11, r10\n"

/* Where outputs go: SCALE ends with this, and leaves those of pixel 0 in r4 to r7, of pixel 1 in r8
 * to r11. */
#define EB_TARGETS "ldr r2, [sp, #12]\n ldr lr, [sp, #16]\n ldr r12, [sp, #20]\n"

#define EB_PIXEL_PAIRS(SCALE)                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "mov lr, r0\n ldm lr, {r1-r12}\n"                                                              \
    "adr.w r0, 3f\n add r3, r0\n orr r3, #1\n"                                                     \
    "sub sp, #48\n stm sp, {r1-r12}\n"                                                             \
    "0: ldr r0, [sp, #24]\n ldr r1, [sp, #32]\n ldr r4, [sp, #36]\n"                               \
    "ldr r2, [sp]\n ldr r12, [sp, #4]\n"                                                           \
    "add r1, r0\n add r4, r0\n str r4, [sp, #24]\n"                                                \
    "1: ldr r4, [r0], #4\n ldr r5, [r1], #4\n"                                                     \
    "sxtb16 r6, r4\n sxtb16 r7, r5\n sxtb16 r4, r4, ror #8\n sxtb16 r5, r5, ror #8\n"              \
    "str r6, [r2], #4\n str r7, [r2], #4\n str r4, [r2], #4\n str r5, [r2], #4\n"                  \
    "cmp r2, r12\n bne 1b\n"                                                                       \
    "ldr r1, [sp, #44]\n"                                                                          \
    "2:\n" EB_FIRST_STEP                                                                           \
    "ldr pc, [sp, #8]\n"                                                                           \
    ".balign 4\n"                                                                                  \
    "3:\n" EB_FOUR_STEPS EB_FOUR_STEPS EB_FOUR_STEPS EB_FOUR_STEPS                                 \
    "ldr r2, [sp, #4]\n cmp r0, r2\n bne 3b\n" SCALE                                               \
    "bfi r4, r5, #8, #24\n bfi r6, r7, #8, #24\n pkhbt r4, r4, r6, lsl #16\n"                      \
    "bfi r8, r9, #8, #24\n bfi r10, r11, #8, #24\n pkhbt r8, r8, r10, lsl #16\n"                   \
    "cmp r2, lr\n bhi 5f\n"                                                                        \
    "str r8, [r2, r12]\n str r4, [r2], #4\n str r2, [sp, #12]\n"                                   \
    "blo 2b\n"                                                                                     \
    "4: ldr r3, [sp, #40]\n ldr r4, [sp, #28]\n"                                                   \
    "add r2, r3\n add lr, lr, r3, lsl #1\n str r2, [sp, #12]\n str lr, [sp, #16]\n"                \
    "subs r4, #1\n str r4, [sp, #28]\n bne 0b\n"                                                   \
    "add sp, #48\n pop {r4-r11, pc}\n"                                                             \
    "5: add r3, lr, #4\n" /* fewer than four channels */                                           \
    "6: strb r8, [r2, r12]\n strb r4, [r2], #1\n lsr r8, #8\n lsr r4, #8\n"                        \
    "cmp r2, r3\n bne 6b\n b 4b\n"

#else

/* The output of one of four channels from the constants behind their weights and the sum: as it is
 * of channels 0 and 2, times 256 and with the start of channels 1 and 3. */
typedef int8_t eb_last_step(const uint32_t *constants, int32_t channel, int32_t sum);

static inline void eb_pixel_pairs_c(const eb_pixel_pairs *p, eb_last_step last, int32_t constants)
{
    const int8_t *in = p->in;
    int8_t *out = p->out;
    const int32_t out_c = (int32_t)(p->out_four + 4 - p->out);
    for (int32_t pair = p->pairs; pair > 0; pair--, in += p->in_step, out += out_c + p->out_step) {
        const int8_t *from = in;
        for (uint32_t *to = p->columns; to != p->columns_end; to += 4, from += 4) {
            const uint32_t x = eb_load4(from), y = eb_load4(from + p->in_distance);
            to[0] = eb_even_bytes(x);
            to[1] = eb_even_bytes(y);
            to[2] = eb_odd_bytes(x);
            to[3] = eb_odd_bytes(y);
        }
        const uint32_t *w = p->stream;
        for (int32_t at = 0; at < out_c; at += 4, w += constants) {
            int32_t first[4] = { 0 }, both[4]; /* pair of channels + 2 * pixel */
            for (int32_t i = 0; i < 4; i++) {
                both[i] = (int32_t)w[i % 2];
            }
            w += 2;
            for (const uint32_t *x = p->columns; x != p->columns_end; x += 2, w += 2) {
                for (int32_t i = 0; i < 4; i++) {
                    first[i] = eb_smlad(x[i / 2], eb_even_bytes(w[i % 2]), first[i]);
                    both[i] = eb_smlad(x[i / 2], w[i % 2], both[i]);
                }
            }
            for (int32_t i = 0; i < eb_min_i32(4, out_c - at); i++) {
                for (int32_t pixel = 1; pixel >= 0; pixel--) {
                    const int32_t n = i / 2 + 2 * pixel;
                    const int32_t second = (int32_t)((uint32_t)both[n] - (uint32_t)first[n]);
                    out[pixel * p->out_distance + at + i] = last(w, i, i % 2 ? second : first[n]);
                }
            }
        }
    }
}

#endif

static inline void eb_conv2d_1x1(const eb_conv2d_1x1_params *p, const int8_t *input, int8_t *output,
                                 uint32_t *columns, void (*run)(const eb_pixel_pairs *))
{
    const int32_t out_c = p->out_c;
    eb_pixel_pairs job = { .columns = columns,
                           .columns_end = columns + p->in_c,
                           .entry = (-(p->in_c / 2 - 1) & (EB_ROUND - 1)) * EB_STEP_BYTES,
                           .out = output,
                           .in_step = 2 * p->pixel_step,
                           .out_step = out_c,
                           .stream = (const uint32_t *)(const void *)p->stream };
    for (int32_t batch = 0; batch < p->batches; batch++) {
        for (int32_t y = 0; y < p->rows; y++) {
            job.in = input + batch * p->image_step + y * p->row_step;
            job.pairs = p->pixels / 2;
            job.in_distance = p->pixel_step;
            job.out_distance = out_c;
            job.out_four = job.out + out_c - 4;
            if (job.pairs > 0) {
                run(&job);
            }
            if (p->pixels % 2 != 0) {
                job.in += job.pairs * job.in_step;
                job.out += 2 * job.pairs * out_c;
                job.out_four = job.out + out_c - 4;
                job.in_distance = job.out_distance = 0;
                job.pairs = 1;
                run(&job);
                job.out += out_c;
            } else {
                job.out += p->pixels * out_c;
            }
        }
    }
    if (p->clamp) {
        eb_clamp_all(output, p->batches * p->rows * p->pixels * out_c, &p->output);
    }
}

#endif /* EB_CONV2D_1X1_DSP_H */
