/* DEPTHWISE_CONV_2D of any kernel with the DSP extension: four channels of one output pixel.
 *
 * A table has, for each tap, the distance of its input from that of the first one. Pixels whose
 * kernels lie inside the image share it and are one run; for others it is made anew, with what lies
 * outside pointing to a pixel of padding. Two taps of four channels are two words, which become four
 * of two taps of one channel: SMLAD takes both at once.
 *
 * All constants are one stream of words, the same for every pixel. For each four channels: 256 times
 * the biases (plus the fraction, if `once`); for each two taps the bytes of channels 0 and 1 of the
 * one and of the other, then of channels 2 and 3; of an odd tap the bytes of all four; multipliers,
 * or for each channel multiplier, round and right. Fewer than four channels at the end come again
 * with those before them. Weights become 256 times what they are, and so are the sums. */
#include "../common/eb_channel_dsp.h"
#include "../common/eb_scale_dsp.h"
#include "depthwise_conv2d.h"

#define TURN 4          /* pairs of taps that the loop is unrolled to */
#define PAIR_BYTES 80   /* of its code for one */

/* Pixels that share the table; assembly takes it by its order. */
typedef struct {
    const intptr_t *taps;
    uintptr_t end; /* of the pairs of taps, one less where an odd one follows */
    const int32_t *stream;
    uintptr_t in;    /* of the first tap of the first pixel, which may lie outside, */
    uintptr_t last;  /* its last four channels, */
    intptr_t output; /* and from there to the output */
    int32_t pixels;
    int32_t in_step, output_step; /* what a pixel adds to them */
    int32_t entry;                /* bytes of the turn before the first pair that runs */
    int32_t once;
} run;

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP

/* r0: table; r1: stream; r2: input; r3: mask; sums in r4 to r7. */
#define TWO_TAPS                                                                                   \
    "ldr r8, [r0], #4\n ldr r9, [r0], #4\n ldr r10, [r1], #4\n ldr r11, [r1], #4\n"                \
    "ldr r8, [r2, r8]\n ldr r9, [r2, r9]\n"                                                        \
    "pkhbt r12, r8, r9, lsl #16\n pkhtb r9, r9, r8, asr #16\n"                                     \
    "sxtb16 r8, r12\n sxtb16 r12, r12, ror #8\n and lr, r3, r10, lsl #8\n and r10, r3, r10\n"      \
    "smlad r4, r8, lr, r4\n smlad r5, r12, r10, r5\n"                                              \
    "sxtb16 r8, r9\n sxtb16 r9, r9, ror #8\n and lr, r3, r11, lsl #8\n and r11, r3, r11\n"         \
    "smlad r6, r8, lr, r6\n smlad r7, r9, r11, r7\n"
#define ONE_TAP                                                                                    \
    "ldr r8, [r0]\n ldr r10, [r1], #4\n ldr r8, [r2, r8]\n"                                        \
    "sxtb16 r9, r8\n sxtb16 r8, r8, ror #8\n and lr, r3, r10, lsl #8\n and r10, r3, r10\n"         \
    "smlabb r4, r9, lr, r4\n smlabb r5, r8, r10, r5\n"                                             \
    "smlatt r6, r9, lr, r6\n smlatt r7, r8, r10, r7\n"
#define TWICE(s)                                                                                   \
    "ldmia r1!, {r8-r10}\n asr " s ", #7\n" EB_HIGH_ANY(s, "r8", "r9") EB_NARROW(s, "r10")

EB_NAKED pixels(EB_IN const run *r)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldmia r0, {r2-r12}\n"
        "adr.w r0, 2f\n add r11, r0\n orr r11, #1\n"
        "push {r2-r12}\n"
        "0: ldr r1, [sp, #8]\n ldr r2, [sp, #12]\n"
        "1: ldmia r1!, {r4-r7}\n mov r3, #0xFF00FF00\n ldr r0, [sp]\n ldr pc, [sp, #36]\n"
        ".p2align 2\n"
        "2:\n" TWO_TAPS TWO_TAPS TWO_TAPS TWO_TAPS
        "ldr r8, [sp, #4]\n cmp r0, r8\n blo 2b\n beq 3f\n" ONE_TAP
        "3: ldr r0, [sp, #40]\n ldr r11, [sp, #16]\n ldr r12, [sp, #20]\n"
        "cmp r0, #0\n beq 6f\n"
        "ldmia r1!, {r3, r8-r10}\n" EB_LOW("r0")
        EB_ONCE("r4", "r3", "r0") EB_ONCE("r5", "r8", "r0")
        EB_ONCE("r6", "r9", "r0") EB_ONCE("r7", "r10", "r0")
        EB_ONCE_NARROW("r4") EB_ONCE_NARROW("r5") EB_ONCE_NARROW("r6") EB_ONCE_NARROW("r7")
        "4: bfi r4, r5, #8, #24\n bfi r6, r7, #8, #24\n pkhbt r4, r4, r6, lsl #16\n"
        "str r4, [r2, r12]\n add r2, #4\n cmp r2, r11\n bls 1b\n"
        "sub r2, r11\n cmp r2, #4\n mov r2, r11\n bne 1b\n" /* fewer than four are left */
        "ldr r0, [sp, #12]\n ldr r1, [sp, #24]\n ldr r3, [sp, #28]\n ldr r4, [sp, #32]\n"
        "add r0, r3\n add r2, r3\n add r12, r4\n"
        "str r0, [sp, #12]\n str r2, [sp, #16]\n str r12, [sp, #20]\n"
        "subs r1, #1\n str r1, [sp, #24]\n bne 0b\n"
        "add sp, #44\n pop {r4-r11, pc}\n"
        "6:\n" TWICE("r4") TWICE("r5") TWICE("r6") TWICE("r7") "b 4b\n");
}

#else

static uint32_t word_at(uintptr_t in, intptr_t tap)
{
    return eb_load4((const int8_t *)(in + (uintptr_t)tap));
}

/* Sums of the channels 0 and 1 of s from words of which each half has them of one tap. */
static void add_two(int32_t *s, uint32_t x, uint32_t w)
{
    const uint32_t mask = UINT32_C(0xFF00FF00);
    s[0] = eb_smlad(eb_even_bytes(x), w << 8 & mask, s[0]);
    s[1] = eb_smlad(eb_odd_bytes(x), w & mask, s[1]);
}

static const int32_t *four_channels(const run *r, const int32_t *w, uintptr_t in)
{
    int32_t s[4];
    memcpy(s, w, sizeof s);
    w += 4;
    const intptr_t *tap = r->taps;
    for (; (uintptr_t)(tap + 1) <= r->end; tap += 2, w += 2) {
        const uint32_t x = word_at(in, tap[0]), y = word_at(in, tap[1]);
        add_two(s, eb_lows(x, y), (uint32_t)w[0]);
        add_two(s + 2, eb_highs(x, y), (uint32_t)w[1]);
    }
    if ((uintptr_t)tap != r->end) {
        const uint32_t x = word_at(in, tap[0]), v = (uint32_t)*w++;
        add_two(s, eb_lows(x, 0), eb_lows(v, 0));
        add_two(s + 2, x >> 16, v >> 16);
    }
    int8_t *const out = (int8_t *)(in + (uintptr_t)r->output);
    for (int32_t i = 0; i < 4; i++, w += r->once ? 1 : 3) {
        if (r->once) {
            out[i] = eb_scale_once(s[i], w[0]);
        } else {
            out[i] = eb_scale_dsp(s[i] >> 7, (eb_channel_dsp){ 0, w[0], w[1], w[2] });
        }
    }
    return w;
}

static void pixels(run *r)
{
    for (; r->pixels > 0; r->pixels--) {
        const int32_t *w = r->stream;
        uintptr_t in = r->in;
        for (; in <= r->last; in += 4) {
            w = four_channels(r, w, in);
        }
        if (in != r->last + 4) {
            (void)four_channels(r, w, r->last);
        }
        r->in += (uintptr_t)r->in_step;
        r->last += (uintptr_t)r->in_step;
        r->output += r->output_step;
    }
}

#endif

/* The table of one pixel, whose first tap lies on row `top` and column `left` of the image; `pad`:
 * from there to the pixel of padding. */
static void point(const eb_depthwise_conv2d_params *p, int32_t top, int32_t left, intptr_t pad,
                  intptr_t *tap)
{
    for (int32_t ky = 0; ky < p->kernel_h; ky++) {
        const int32_t y = ky * p->dilation_h;
        const int inside = top + y >= 0 && top + y < p->in_h;
        int32_t at = y * p->in_w * p->in_c, x = left;
        for (int32_t kx = p->kernel_w; kx > 0; kx--) {
            *tap++ = inside && x >= 0 && x < p->in_w ? at : pad;
            at += p->dilation_w * p->in_c;
            x += p->dilation_w;
        }
    }
}

/* One row of outputs; `r` has its first one. */
static void row(const eb_depthwise_conv2d_params *p, uintptr_t image, int32_t top, uintptr_t pad,
                intptr_t *taps, run *r, uintptr_t output)
{
    const int inside_y = top >= 0 && top + (p->kernel_h - 1) * p->dilation_h < p->in_h;
    for (int32_t x = 0, n; x < p->out_w; x += n) {
        const int32_t left = x * p->stride_w - p->pad_left;
        const int32_t right = p->in_w - 1 - (p->kernel_w - 1) * p->dilation_w - left;
        const int inside = inside_y && left >= 0 && right >= 0;
        n = inside ? eb_min_i32(p->out_w - x, right / p->stride_w + 1) : 1;
        r->pixels = n;
        r->in = image + (uintptr_t)((top * p->in_w + left) * p->in_c);
        r->last = r->in + (uintptr_t)(p->in_c - 4);
        r->output = (intptr_t)(output - r->in);
        point(p, top, left, (intptr_t)(pad - r->in), taps);
        pixels(r);
        output += (uintptr_t)(n * p->in_c);
    }
}

void eb_depthwise_conv2d_s8_dsp(const eb_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output, void *scratch)
{
    const int32_t count = p->kernel_h * p->kernel_w, pairs = count / 2;
    intptr_t *const taps = (intptr_t *)scratch;
    int8_t *const pad = (int8_t *)(taps + count);
    memset(pad, (int)p->pad, (size_t)p->in_c);
    run r = { .taps = taps,
              .end = (uintptr_t)(taps + 2 * pairs) - (uintptr_t)(count % 2),
              .stream = p->channels,
              .in_step = p->stride_w * p->in_c,
              .output_step = p->in_c - p->stride_w * p->in_c,
              .entry = (TURN - 1 - (pairs - 1) % TURN) * PAIR_BYTES,
              .once = p->once };
    for (int32_t b = 0; b < p->batches; b++) {
        const uintptr_t image = (uintptr_t)(input + b * p->in_h * p->in_w * p->in_c);
        for (int32_t y = 0; y < p->out_h; y++) {
            int8_t *const out = output + (b * p->out_h + y) * p->out_w * p->in_c;
            row(p, image, y * p->stride_h - p->pad_top, (uintptr_t)pad, taps, &r, (uintptr_t)out);
        }
    }
    if (p->clamp) {
        eb_clamp_all_dsp(output, p->batches * p->out_h * p->out_w * p->in_c, &p->output);
    }
}
