/* DEPTHWISE_CONV_2D without a SIMD extension: four output pixels, one channel after the other.
 *
 * Pixels follow each other through the rows of an image. A table has a pointer to the input of each tap
 * of each of the four; those outside of the image point to a pixel of padding.
 *
 * Weights: for each filter of an input channel (the first filters of all, then the second ones, ...) and
 * each input channel its taps. Channels come in the same order. */
#include "../common/eb_words.h"
#include "depthwise_conv2d.h"

#define PIXELS 4

/* Four pixels; behind the last one of an image it comes again. */
typedef struct {
    const int8_t **taps, **end; /* [taps][PIXELS] */
    int8_t *out[PIXELS];
    const void *channel; /* eb_channel, or eb_channel_once */
    int32_t at;       /* of the next output in each pixel, */
    int32_t step;     /* and from there to the next */
    int32_t channels; /* of the input */
    int32_t offset;   /* EB_ONCE_OFFSET with eb_channel_once */
    int32_t lacking; /* taps to whole rounds of three */
} group;

#if defined(__thumb2__)

/* One filter of each input channel; returns the end of their weights. Sums in r4 to r7. r0: pointers;
 * r3: their end; r1: weights; r2: input channel. Three taps a round; the first one enters at r11. */
#define TAP                                                                                        \
    "ldr r8, [r0], #4\n ldr r9, [r0], #4\n ldr r10, [r0], #4\n ldr r12, [r0], #4\n"                \
    "ldrsb.w r8, [r8, r2]\n ldrsb.w r9, [r9, r2]\n ldrsb.w r10, [r10, r2]\n"                       \
    "ldrsb.w r12, [r12, r2]\n ldrsb lr, [r1], #1\n"                                                \
    "mla r4, r8, lr, r4\n mla r5, r9, lr, r5\n mla r6, r10, lr, r6\n mla r7, r12, lr, r7\n"
#define TAP_BYTES "52"

EB_NAKED const int8_t *filters(EB_IN const int8_t *w, EB_IN group *g)
{
    __asm volatile(
        "push {r1, r4-r11, lr}\n"
        "ldr r3, [r1, #44]\n mov r1, r0\n"
        "mov r2, #" TAP_BYTES "\n"
        "adr.w r11, 1f\n mla r11, r3, r2, r11\n add r11, #1\n"
        "mov r2, #0\n"
        "0: ldr r10, [sp]\n"
        "ldr r0, [r10]\n ldr r3, [r10, #4]\n ldr r8, [r10, #24]\n ldr r12, [r10, #40]\n"
        "ldr r4, [r8]\n cmn r12, #0x8000\n it eq\n moveq r4, #0\n"
        "mov r5, r4\n mov r6, r4\n mov r7, r4\n bx r11\n"
        ".p2align 2\n"
        "1:\n" TAP TAP TAP
        "cmp r0, r3\n bne 1b\n"
        "ldr r10, [sp]\n ldr r8, [r10, #24]\n ldr r9, [r10, #28]\n ldr lr, [r10, #40]\n"
        "cmn lr, #0x8000\n beq 4f\n"
        "ldr r12, [r8, #4]\n ldr r3, [r8, #8]\n add r8, #12\n str r8, [r10, #24]\n"
        "rsbs r3, r3, #0\n ble 3f\n"
        EB_SCALE_DOWN("r4", "r12", "r3", "lr", "r0") EB_SCALE_DOWN("r5", "r12", "r3", "lr", "r0")
        EB_SCALE_DOWN("r6", "r12", "r3", "lr", "r0") EB_SCALE_DOWN("r7", "r12", "r3", "lr", "r0")
        "2: ssat r4, #8, r4\n ssat r5, #8, r5\n ssat r6, #8, r6\n ssat r7, #8, r7\n"
        "ldr r0, [r10, #8]\n ldr r3, [r10, #12]\n ldr r8, [r10, #16]\n ldr r12, [r10, #20]\n"
        "ldr lr, [r10, #32]\n ldr r10, [r10, #36]\n"
        "strb r4, [r0, r9]\n strb r5, [r3, r9]\n strb r6, [r8, r9]\n strb r7, [r12, r9]\n"
        "add r9, lr\n add r2, #1\n cmp r2, r10\n ldr r10, [sp]\n str r9, [r10, #28]\n bne 0b\n"
        "mov r0, r1\n"
        "pop {r1, r4-r11, pc}\n"
        "3: rsbs r3, r3, #0\n"
        EB_SCALE_UP("r4", "r12", "r3", "lr", "r0") EB_SCALE_UP("r5", "r12", "r3", "lr", "r0")
        EB_SCALE_UP("r6", "r12", "r3", "lr", "r0") EB_SCALE_UP("r7", "r12", "r3", "lr", "r0")
        "b 2b\n"
        "4: ldr r3, [r8], #4\n ldr r12, [r8], #4\n str r8, [r10, #24]\n"
        EB_FROM("r4", "r3") EB_FROM("r5", "r3") EB_FROM("r6", "r3") EB_FROM("r7", "r3")
        EB_SCALE_ONCE("r4", "r12", "r0") EB_SCALE_ONCE("r5", "r12", "r0")
        EB_SCALE_ONCE("r6", "r12", "r0") EB_SCALE_ONCE("r7", "r12", "r0")
        "b 2b\n");
}

#else

#if defined(__ARM_ARCH_6M__)

/* The sums of channel c, from the first one's bias on, in r5 to r7 and r12. r0: pointers; r9: their
 * end; r1: weights; r2: channel. */
#define PRODUCT(at) "ldr r4, [r0, #" at "]\n ldrsb r4, [r4, r2]\n muls r4, r3, r4\n"

EB_NAKED const int8_t *tap_sums(EB_IN const group *g, EB_IN const int8_t *w, EB_IN int32_t c,
                                EB_IN int32_t *sums)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n mov r5, r9\n push {r4, r5}\n"
        "mov r8, r3\n ldr r4, [r0, #4]\n mov r9, r4\n ldr r0, [r0]\n"
        "ldr r5, [r3]\n mov r6, r5\n mov r7, r5\n mov r12, r5\n"
        "1: ldrb r3, [r1]\n sxtb r3, r3\n adds r1, #1\n"
        PRODUCT("0") "adds r5, r5, r4\n" PRODUCT("4") "adds r6, r6, r4\n"
        PRODUCT("8") "adds r7, r7, r4\n" PRODUCT("12") "add r12, r4\n"
        "adds r0, #16\n cmp r0, r9\n bne 1b\n"
        "mov r3, r8\n mov r4, r12\n stmia r3!, {r5-r7}\n str r4, [r3]\n mov r0, r1\n"
        "pop {r4, r5}\n mov r8, r4\n mov r9, r5\n"
        "pop {r4-r7, pc}\n");
}

#else

static const int8_t *tap_sums(const group *g, const int8_t *w, int32_t c, int32_t *sums)
{
    int32_t s0 = sums[0], s1 = s0, s2 = s0, s3 = s0;
    for (const int8_t **x = g->taps; x != g->end; x += PIXELS, w++) {
        s0 += x[0][c] * *w;
        s1 += x[1][c] * *w;
        s2 += x[2][c] * *w;
        s3 += x[3][c] * *w;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return w;
}

#endif

static const int8_t *filters(const int8_t *w, group *g)
{
    int32_t sums[PIXELS];
    for (int32_t c = 0; c < g->channels; c++, g->at += g->step) {
        sums[0] = eb_start(g->channel, g->offset);
        w = tap_sums(g, w, c, sums);
        for (int32_t i = 0; i < PIXELS; i++) {
            g->out[i][g->at] = eb_output(sums[i], g->channel, g->offset);
        }
        g->channel = eb_next_channels(g->channel, 1, g->offset);
    }
    return w;
}

#endif

/* The pointers of one pixel, whose first tap lies on row `top` and column `left` of the image. */
static void point(const eb_depthwise_conv2d_params *p, const int8_t *image, const int8_t *pad,
                  int32_t top, int32_t left, const int8_t **taps)
{
    for (int32_t ky = p->kernel_h; ky > 0; ky--, top += p->dilation_h) {
        const int inside = top >= 0 && top < p->in_h;
        const int8_t *x = image + (top * p->in_w + left) * p->in_c;
        int32_t column = left;
        for (int32_t kx = p->kernel_w; kx > 0; kx--, taps += PIXELS) {
            *taps = inside && column >= 0 && column < p->in_w ? x : pad;
            column += p->dilation_w;
            x += p->dilation_w * p->in_c;
        }
    }
}

void eb_depthwise_conv2d_s8(const eb_depthwise_conv2d_params *p, const int8_t *input,
                            int8_t *output, void *scratch)
{
    const int32_t out_c = p->in_c * p->multiplier, pixels = p->out_h * p->out_w;
    const int32_t taps = p->kernel_h * p->kernel_w;
    group g = { .taps = (const int8_t **)scratch,
                .step = p->multiplier,
                .channels = p->in_c,
                .offset = eb_offset(&p->output, p->once),
                .lacking = (taps + 2) / 3 * 3 - taps };
    g.end = g.taps + PIXELS * taps;
    int8_t *const pad = (int8_t *)(void *)g.end;
    memset(pad, (int)p->pad, (size_t)p->in_c);
    for (int32_t b = 0; b < p->batches; b++, input += p->in_h * p->in_w * p->in_c) {
        int32_t x = 0, y = 0;
        for (int32_t left = pixels; left > 0; left -= PIXELS) {
            for (int32_t i = 0; i < PIXELS; i++) {
                point(p, input, pad, y * p->stride_h - p->pad_top, x * p->stride_w - p->pad_left,
                      g.taps + i);
                g.out[i] = output;
                if (i + 1 < left) {
                    output += out_c;
                    x++;
                    if (x == p->out_w) {
                        x = 0;
                        y++;
                    }
                }
            }
            if (left <= PIXELS) {
                output += out_c;
            }
            const int8_t *w = p->weights;
            g.channel = p->channels;
            for (int32_t m = 0; m < p->multiplier; m++) {
                g.at = m;
                w = filters(w, &g);
            }
        }
    }
    if (p->clamp) {
        const int32_t count = p->batches * pixels * out_c;
        eb_clamp_all(output - count, count, &p->output);
    }
}
